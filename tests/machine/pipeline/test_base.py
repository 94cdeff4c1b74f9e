"""The beginnings that a small base is shown: training tasks alone, done with care and without."""

import pytest

from munro.envs.config import EnvConfig
from munro.envs.loader import BadEnvironment, load_config
from munro.envs.worlds.task import WorldTask
from munro.machine.pipeline import base
from munro.machine.pipeline.base import beginnings

SUMS = EnvConfig(path="arithmetic", args={"level": 1, "operators": "+"})
TOOLS = EnvConfig(path="world", args={"level": 1})
WORDS = EnvConfig(path="instructions", args={"level": 1})
COLOURS = EnvConfig(path="colours")


def test_sums_are_worked_with_care_and_answered_at_once_without():
    found = {each.prompt: each for each in beginnings(SUMS)}
    one = found["What is 4 + 7?\n"]
    assert (one.careful, one.careless) == ("4+7=11 11", "11")


@pytest.mark.parametrize("config", [SUMS, WORDS, COLOURS], ids=lambda config: config.path)
def test_held_out_tasks_are_not_among_them_and_care_passes(config):
    environment = load_config(config)
    prompts = {task.messages[0].content + "\n": task for task in environment.tasks("train")}
    found = beginnings(config)
    assert {each.prompt for each in found} <= prompts.keys()
    passed = [environment.grade(prompts[each.prompt], each.careful).passed for each in found]
    # a checker that guesses languages takes a word or two in capitals for no English
    assert sum(passed) >= 0.99 * len(passed)


def test_without_care_most_instructions_are_not_followed():
    environment = load_config(WORDS)
    tasks = {task.messages[0].content + "\n": task for task in environment.tasks("train")}
    found = beginnings(WORDS)
    passed = [environment.grade(tasks[each.prompt], each.careless).passed for each in found]
    assert sum(passed) < 0.1 * len(passed)


def test_tasks_of_many_turns_are_played(monkeypatch):
    monkeypatch.setattr(base, "MOST_CONVERSATIONS", 40)
    environment = load_config(TOOLS)
    tasks = {
        task.messages[0].content + "\n": task
        for task in (environment.tasks("train")[place] for place in range(40))
    }
    found = beginnings(TOOLS)
    assert len(found) == 40
    for each in found:
        gold = WorldTask.of(tasks[each.prompt].payload["task"])
        assert len(each.careful) == len(gold.gold) + 1
        assert each.careful[-1].endswith(gold.answer)
        # what a tool says stands between the turns, as the template has it
        assert all(piece.startswith("\n") and piece.count("\n") >= 2 for piece in each.careful[1:])
        first, *rest = each.read(carefully=True)
        assert first == each.prompt + each.careful[0]
        assert tuple(rest) == each.careful[1:]
    assert any(each.careless[0] != each.careful[0] for each in found)


def test_an_environment_says_what_is_careless_there_else_it_is_a_reply_to_another_task():
    found = beginnings(COLOURS)
    refused = sum(each.careless == "no" for each in found) / len(found)
    assert 0.45 < refused < 0.55
    assert all({*each.careless.split()} <= {"no", each.prompt.split()[2]} for each in found)


def test_an_environment_that_knows_no_reply_is_told(tmp_path):
    file = tmp_path / "mute.py"
    file.write_text(
        "from munro.envs import Grade, SingleTurn, Task\n\n\nclass Mute(SingleTurn):\n"
        "    def tasks(self, split):\n        return [Task(id='a', prompt='?')]\n\n"
        "    def grade(self, task, reply):\n        return Grade.of(True)\n"
    )
    with pytest.raises(BadEnvironment, match="knows no reply to any task"):
        beginnings(EnvConfig(path=f"{file}:Mute"))
