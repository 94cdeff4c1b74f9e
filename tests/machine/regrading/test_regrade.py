"""A stored run graded again: what changes, what cannot be graded, and what is told of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from munro.envs.types import Ending, Message, Task
from munro.machine.cli.main import munro
from munro.machine.climb.start import raw
from munro.machine.config import RunConfig
from munro.machine.run.folder import RunFolder
from munro.machine.sentences import is_sentence
from munro.rollout.store.store import RolloutStore
from tests.builders import make_attempt, make_group, make_trajectory

ENV = '''
from munro.envs import Grade, SingleTurn, Task


class Words(SingleTurn):
    """Say a word; strict asks for it alone."""

    def __init__(self, strict=False, gone="", other=""):
        self.strict, self.gone, self.other = strict, gone, other

    def tasks(self, split):
        words = [w for w in ("cairn", "belay", "munro") if w != self.gone]
        return [
            Task(id=w, prompt=f"{'Write' if w == self.other else 'Say'} {w}.", payload={"word": w})
            for w in (words if split == "train" else ["scree"])
        ]

    def grade(self, task, reply):
        if reply == "break":
            raise RuntimeError("out of order")
        word = task.payload["word"]
        return Grade.of(reply == word if self.strict else word in reply)
'''
LOOSE = {"cairn": "well, cairn", "belay": "belay", "munro": "no"}


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """Two steps of three tasks each, two attempts a task, graded loosely."""
    file = tmp_path / "words.py"
    file.write_text(ENV)
    config = RunConfig.model_validate(
        {"name": "stem", "num_steps": 2, "env": f"{file}:Words", "folder": str(tmp_path)}
    )
    run = RunFolder(tmp_path / "stem")
    run.begin(raw(config), seed=0, provenance={})
    store = RolloutStore(run.rollouts)
    for step in (1, 2):
        groups = [
            make_group(
                index=3 * step + at,
                task=Task(id=w, env="words", prompt=f"Say {w}.", payload={"word": w}),
                attempts=tuple(
                    make_attempt(float(w in reply), trajectory=told(reply))
                    for reply in (said, "[red]no[/red]</script>")
                ),
            )
            for at, (w, said) in enumerate(LOOSE.items())
        ]
        store.write(step, groups, [[0.0, 0.0]] * 3)
    return run


def told(reply: str):
    message = Message(role="assistant", content=reply, is_sampled=True)
    return make_trajectory(reply=reply, messages=(message,))


def regrade(run, *words):
    """Exit status and what was said, with a mistake's one sentence."""
    done = CliRunner().invoke(munro, ["regrade", str(run.path), *words])
    if done.exception is None or isinstance(done.exception, SystemExit):
        return done.exit_code, done.output
    assert is_sentence(done.exception), done.exception
    return 2, str(done.exception)


def lines(folder: Path, name: str):
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def test_the_same_environment_changes_nothing(run, tmp_path):
    status, said = regrade(run, "--out", str(tmp_path / "out"))
    assert (status, "0 grades changed" in said) == (0, True)
    assert len(lines(tmp_path / "out", "grades.jsonl")) == 12
    assert lines(tmp_path / "out", "changes.jsonl") == []


def test_what_changes_is_told_with_task_reply_old_and_new_grade(run, tmp_path):
    status, said = regrade(run, "--env.args.strict", "true", "--out", str(tmp_path / "out"))
    assert status == 0
    row = next(line for line in said.splitlines() if "words" in line and "0.333" in line)
    assert row.replace("│", " ").split()[1:] == ["12", "0", "0.333", "0.167", "2", "0", "0"]
    first, second = lines(tmp_path / "out", "changes.jsonl")
    assert (first["trace"], second["trace"]) == ("1/3/0", "2/6/0")
    assert (first["task"], first["prompt"], first["reply"]) == (
        "cairn",
        "Say cairn.",
        "well, cairn",
    )
    assert (first["old"]["solved"], first["new"]["solved"]) == (True, False)


def test_the_same_command_goes_on_and_other_settings_are_another_folder(run, tmp_path):
    out = tmp_path / "out"
    assert regrade(run, "--last-step", "1", "--out", str(out))[0] == 0
    kept = (out / "grades.jsonl").read_text()
    # killed in the middle of a line
    (out / "grades.jsonl").write_text(kept[: len(kept) - 40])
    assert regrade(run, "--out", str(out))[0] == 0
    assert len(lines(out, "grades.jsonl")) == 12
    assert len({row["trace"] for row in lines(out, "grades.jsonl")}) == 12
    status, said = regrade(run, "--env.args.strict", "true", "--out", str(out))
    assert status == 2
    assert "was graded with other settings: give another --out" in said
    # without --out the folder is named after the settings
    regrade(run)
    regrade(run, "--env.args.strict", "true")
    assert len(list((run.path / "regraded").glob("words-*"))) == 2


def test_a_task_that_is_gone_or_asks_something_else_is_left_out_in_one_line(run, tmp_path):
    given = ("--env.args.gone", "cairn", "--env.args.other", "belay")
    status, said = regrade(run, *given, "--out", str(tmp_path / "out"))
    assert status == 0
    assert "4 attempts: the environment has no such task (first words/cairn)" in said
    assert "4 attempts: the environment asks something else under that name (first words/be" in said
    assert lines(tmp_path / "out", "changes.jsonl") == []


def test_what_cannot_be_graded_now_is_tried_again(run, tmp_path):
    file, out = tmp_path / "words.py", tmp_path / "out"
    file.write_text(ENV.replace('reply == "break"', '"red" in reply'))
    status, said = regrade(run, "--out", str(out))
    assert status == 1
    assert "words/cairn raised RuntimeError: out of order" in said
    assert "Run the same command again" in said
    file.write_text(ENV)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--env", "arithmetic"], "knows none of the 3 tasks that"),
        (["--env", "arithmetics"], "There is no environment 'arithmetics'. Did you mean"),
        (["--env.args.strickt", "true"], "strickt"),
        (["--first-step", "7"], "stored steps 1 to 2, and none from 7 to 2"),
        (["--env", "arithmetic", "--config", "quickstart"], "leave --env out, or --config"),
    ],
)
def test_what_is_wrong_is_one_line(run, words, sentence):
    status, said = regrade(run, *words)
    assert status == 2
    assert sentence in said
    assert len(said.strip().splitlines()) == 1


def test_a_run_without_a_store_and_no_run_are_one_line_each(run, tmp_path):
    for path in run.rollouts.iterdir():
        path.unlink()
    assert "stored no rollouts: there is nothing to grade again" in regrade(run)[1]
    run.path = tmp_path / "nowhere"
    assert "There is no run at" in regrade(run)[1]


SHOP = '''
from munro.envs import Environment, Episode, Grade, Message, Task


class Counter(Environment):
    """Count turns: two must be taken. The grade needs the state that they leave."""

    def __init__(self, says="turn {}", needed=2):
        self.says, self.needed = says, needed

    def tasks(self, split):
        return [Task(id=split, prompt="Go.")]

    def start(self, task):
        return Turns(self)


class Turns(Episode):
    def __init__(self, env):
        self.env, self.turns = env, 0

    def reply(self, message):
        self.turns += 1
        if message.content == "done":
            return None
        return [Message(role="user", content=self.env.says.format(self.turns))]

    def grade(self, trajectory):
        return Grade.of(self.turns == self.env.needed)
'''


@pytest.fixture
def shop(tmp_path):
    file = tmp_path / "shop.py"
    file.write_text(SHOP)
    config = RunConfig.model_validate(
        {"name": "shop", "num_steps": 1, "env": f"{file}:Counter", "folder": str(tmp_path)}
    )
    run = RunFolder(tmp_path / "shop")
    run.begin(raw(config), seed=0, provenance={})

    def played(*turns, ending=Ending.ANSWERED):
        said = []
        for number, turn in enumerate(turns, 1):
            said.append(Message(role="assistant", content=turn, is_sampled=True))
            if number < len(turns):
                said.append(Message(role="user", content=f"turn {number}"))
        return make_trajectory(reply=turns[-1], messages=tuple(said), ending=ending)

    attempts = (
        make_attempt(1.0, trajectory=played("on", "done")),
        make_attempt(0.0, trajectory=played("on", "on", "done")),
        # its last turn ran into the cap and was never answered
        make_attempt(1.0, trajectory=played("on", "on", "x", ending=Ending.TRUNCATED_TOKENS)),
    )
    group = make_group(
        index=0, task=Task(id="train", env="counter", prompt="Go."), attempts=attempts
    )
    RolloutStore(run.rollouts).write(1, [group], [[0.0] * 3])
    return run


def test_turns_are_played_again_and_the_state_that_they_leave_is_graded(shop, tmp_path):
    assert "0 grades changed" in regrade(shop, "--out", str(tmp_path / "same"))[1]
    _, said = regrade(shop, "--env.args.needed", "3", "--out", str(tmp_path / "three"))
    assert "3 grades changed" in said


def test_an_environment_that_answers_otherwise_has_nothing_to_grade(shop, tmp_path):
    out = str(tmp_path / "out")
    status, said = regrade(shop, "--env.args.says", "now turn {}", "--out", out)
    assert status == 0
    assert "3 attempts: the environment answers its turns otherwise now" in said
