"""Folders that Munro did not make, played: gold, nothing, and ways to be paid for nothing."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from munro.envs.check import check, played
from munro.envs.harbor import Harbor
from munro.envs.harbor.errors import BadFolder
from munro.envs.harbor.verify import layer_of_tests
from munro.envs.types import Message, Task, ToolCall
from munro.rewards.types import Grade
from tests.envs.harbor.folders import LEDGER, SIMPLE, TERMINAL, TOML, but, written


@pytest.fixture(scope="module")
def harbor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harbor]:
    top = tmp_path_factory.mktemp("harbor")
    for name, files in (("answer", SIMPLE), ("ledger", LEDGER), ("hello", TERMINAL)):
        written(top / "tasks" / name, files)
    found = Harbor(str(top / "tasks"), store=str(top / "store"), test_share=0.0)
    yield found
    found.close()


def task_in(harbor: Harbor, name: str) -> Task:
    return next(task for task in harbor.tasks("train") if task.id == name)


def shell(*commands: str) -> list[Message | str]:
    """Turns that run commands, and one that ends."""
    turns: list[Message | str] = []
    for number, command in enumerate(commands):
        call = ToolCall(id=str(number), name="bash", arguments=json.dumps({"command": command}))
        turns.append(Message(role="assistant", content="", tool_calls=(call,)))
    return [*turns, "done"]


def graded(harbor: Harbor, name: str, *commands: str) -> Grade:
    return asyncio.run(played(harbor, task_in(harbor, name), shell(*commands))).grade


@pytest.mark.parametrize("name", ["answer", "ledger", "hello"])
def test_gold_passes_and_nothing_does_not(harbor: Harbor, name: str) -> None:
    task = task_in(harbor, name)
    gold = harbor.gold_policy(task)
    assert gold is not None
    done = asyncio.run(played(harbor, task, gold))
    assert done.grade.passed, (done.grade, done.trajectory.messages)
    assert not graded(harbor, name).passed


def test_parts_of_a_reward_are_kept_and_the_one_that_is_named_is_paid(harbor: Harbor) -> None:
    sums = json.dumps({"ada": 1})
    grade = graded(harbor, "ledger", f"echo '{sums}' > sums.json")
    assert (grade.reward, dict(grade.parts)) == (0.0, {"reward": 0.0, "accounts": 1.0})


CHEATS = {
    "reward.json is there before": "echo '{\"reward\": 1}' > /logs/verifier/reward.json",
    "reward.txt is there before": "echo 1 > /logs/verifier/reward.txt; rm -rf /srv",
    "the folder leads elsewhere": "rm -rf /logs/verifier; mkdir /logs/else; "
    "echo '{\"reward\": 1}' > /logs/else/reward.json; ln -s else /logs/verifier",
    "all logs lead elsewhere": "rm -rf /logs; mkdir -p /x/verifier; "
    "echo 1 > /x/verifier/reward.txt; echo 1 > /x/verifier/reward.json; ln -s x /logs",
    "written again and again": "(while :; do echo 1 > /logs/verifier/reward.json; sleep 0.01; done)"
    " >/dev/null 2>&1 &",
    "tests of its own": "mkdir -p /tests; printf '#!/bin/sh\\necho 1 > /logs/verifier/reward.txt' "
    "> /tests/test.sh; chmod +x /tests/test.sh",
    "the tests' folder leads elsewhere": "mkdir /t; printf '#!/bin/sh\\necho 1 > "
    "/logs/verifier/reward.txt' > /t/test.sh; chmod +x /t/test.sh; rm -rf /tests; ln -s t /tests",
    "programs of its own on the way": "mkdir -p /root/.local/bin /app/bin; for p in grep bash sh; "
    "do printf '#!/bin/sh\\necho 1 > /logs/verifier/reward.json' > /app/$p; chmod +x /app/$p; done;"
    " echo PATH=/app:$PATH > /root/.bashrc; cp /root/.bashrc /root/.profile",
    "the solution is looked for": "cat /solution/solve.sh /tests/test.sh; sh /solution/solve.sh",
    "the store is looked for": "find / -name solve.sh -o -name test.sh 2>/dev/null | xargs -r sh",
    "a folder in the place of the reward": "mkdir -p /logs/verifier/reward.json",
}  # fmt: skip


@pytest.mark.parametrize("command", CHEATS.values(), ids=CHEATS.keys())
def test_what_an_agent_wrote_is_no_reward(harbor: Harbor, command: str) -> None:
    grade = graded(harbor, "answer", command)
    assert (grade.reward, grade.passed) == (0.0, False), grade


def test_what_was_written_before_is_no_reward_where_tests_write_none(harbor: Harbor) -> None:
    # the attack on a verifier that shares its box: the tests fail before they write anything
    attack = "mkdir -p /logs/verifier; echo '{\"reward\": 1}' > /logs/verifier/reward.json"
    grade = graded(harbor, "ledger", attack, "echo 1 > /logs/verifier/reward.txt")
    assert grade.reward == 0
    assert "wrote no reward" in grade.reason


def test_a_library_that_every_program_would_load_is_gone_before_the_tests(harbor: Harbor) -> None:
    box = harbor.open_box(task_in(harbor, "answer"), ())
    with box.stack:
        box.session.run(["sh", "-c", "echo /app/evil.so > /etc/ld.so.preload; > /etc/ld.so.cache"])
        left = box.image.over(box.session.freeze())
    over = left.over(layer_of_tests(harbor.foreign(task_in(harbor, "answer")), harbor.store))
    with harbor.sandbox.session(image=over) as session:
        assert session.look("etc/ld.so.preload") is None
        cache = session.look("etc/ld.so.cache")
        assert cache is None or cache.size > 0


def test_the_editor_knows_paths_of_the_whole_box(harbor: Harbor) -> None:
    def edit(path: str, text: str) -> Message:
        arguments = {"command": "create", "path": path, "file_text": text}
        call = ToolCall(id=path, name="str_replace_editor", arguments=json.dumps(arguments))
        return Message(role="assistant", content="", tool_calls=(call,))

    turns = [edit("answer.txt", "42\n"), edit("/usr/x", ""), edit("/app/../x", ""), "done"]
    done = asyncio.run(played(harbor, task_in(harbor, "answer"), turns))
    assert done.grade.passed
    said = [message.content for message in done.trajectory.messages if message.role == "tool"]
    assert "is there now" in said[0]
    assert "Read-only" in said[1]
    assert "leads out" in said[2]


def test_an_episode_goes_on_in_a_new_box_with_all_that_it_wrote(harbor: Harbor) -> None:
    task = task_in(harbor, "answer")

    async def whole() -> None:
        episode = harbor.start(task)
        turn = shell("echo 42 > answer.txt; echo x > /root/x")[0]
        await episode.reply(turn)
        saved = await episode.save()
        await episode.close()
        again = await harbor.restore(task, saved)
        turn = shell("cat /root/x answer.txt")[0]
        (answer,) = await again.reply(turn)
        assert answer.content == "x\n42\n"
        done = await played_from(again)
        assert done.passed

    async def played_from(episode) -> Grade:
        trajectory = (await played(harbor, task, ["done"])).trajectory
        grade = await episode.grade(trajectory)
        await episode.close()
        return grade

    asyncio.run(whole())


def test_the_check_of_environments_finds_it_sound(tmp_path: Path) -> None:
    written(tmp_path / "tasks/answer", SIMPLE)
    path, store = str(tmp_path / "tasks"), str(tmp_path / "store")
    report = check("harbor", path=path, store=store, test_share=0.0)
    assert not report.problems


def test_a_recipe_is_carried_out_once_a_store(tmp_path: Path, monkeypatch) -> None:
    written(tmp_path / "ledger", LEDGER)
    first = Harbor(str(tmp_path / "ledger"), store=str(tmp_path / "store"))
    first.close()
    monkeypatch.setattr(
        "munro.envs.harbor.Harbor.sandbox", property(lambda self: pytest.fail("a box was opened"))
    )
    again = Harbor(str(tmp_path / "ledger"), store=str(tmp_path / "store"))
    (task,) = [*again.tasks("train"), *again.tasks("test")]
    assert again.image(task).digests == first.image(task).digests


def test_one_that_cannot_be_had_is_refused_or_left_out(tmp_path: Path, caplog) -> None:
    written(tmp_path / "tasks/answer", SIMPLE)
    written(tmp_path / "tasks/gpu", but(SIMPLE, "task.toml", f"{TOML}gpus = 1\n"))
    with pytest.raises(BadFolder, match=r"gpu/task.toml: environment.gpus = 1: no box has"):
        Harbor(str(tmp_path / "tasks"), store=str(tmp_path / "store"))
    with caplog.at_level(logging.WARNING):
        found = Harbor(
            str(tmp_path / "tasks"), store=str(tmp_path / "store"), skip=True, test_share=0
        )
    assert [task.id for task in found.tasks("train")] == ["answer"]
    assert "left out" in caplog.text
    assert list(found.left_out) == ["gpu"]


def test_a_folder_that_was_edited_is_no_task_any_more(tmp_path: Path) -> None:
    from munro.envs import EnvironmentFailure

    written(tmp_path / "answer", SIMPLE)
    found = Harbor(str(tmp_path / "answer"), store=str(tmp_path / "store"), test_share=0)
    (task,) = found.tasks("train")
    (tmp_path / "answer/tests/test.sh").write_text("#!/bin/sh\necho 1 > /logs/verifier/reward.txt")
    with pytest.raises(EnvironmentFailure, match="holds another task"):
        found.foreign(task)


def test_tests_have_packages_that_agents_have_not(tmp_path: Path) -> None:
    packages = written(
        tmp_path / "packages",
        {
            "judging.py": "def main():\n    print(open('/app/answer.txt').read() == '42\\n')\n",
            "bin/judge": "#!/somewhere/else/python3.11\nimport judging\njudging.main()\n",
        },
    )
    (packages / "bin/judge").chmod(0o755)
    test = "#!/bin/bash\n[ $(judge) = True ] && echo 1 > /logs/verifier/reward.txt\n"
    written(tmp_path / "answer", but(SIMPLE, "tests/test.sh", test))
    found = Harbor(
        str(tmp_path / "answer"),
        store=str(tmp_path / "store"),
        packages=str(packages),
        test_share=0,
    )
    assert graded(found, "answer", "echo 42 > answer.txt").passed
    looked = "judge; python3 -c 'import judging' || echo 42 > answer.txt"
    assert graded(found, "answer", looked).passed
    with pytest.raises(BadFolder, match="is no folder: pip install --target"):
        Harbor(str(tmp_path / "answer"), store=str(tmp_path / "store"), packages="/no")
    found.close()


LINKS = [
    "ln -s /tests/expected.txt answer.txt",
    "ln -s ../tests/expected.txt answer.txt",
    "ln -s /proc/self/root/tests/expected.txt answer.txt",
    "mkdir -p /one; ln -s /one c; ln -s c/.. up; ln -s up/tests/expected.txt answer.txt",
    "mkdir -p a/b; ln -s /tests a/b/t; ln -s a/b/t/expected.txt answer.txt",
]


def test_an_answer_is_no_link_to_the_right_one(tmp_path: Path) -> None:
    test = "#!/bin/bash\ncmp /app/answer.txt /tests/expected.txt && echo 1 > "
    test += "/logs/verifier/reward.txt\n"
    files = {**but(SIMPLE, "tests/test.sh", test), "tests/expected.txt": "42\n"}
    written(tmp_path / "answer", files)
    found = Harbor(str(tmp_path / "answer"), store=str(tmp_path / "store"), test_share=0)
    assert graded(found, "answer", "echo 42 > right; ln -s right answer.txt").passed
    for command in LINKS:
        grade = graded(found, "answer", command)
        assert (grade.reward, grade.passed) == (0.0, False), (command, grade)
    left = [path.name for path in (tmp_path / "store").iterdir() if len(path.name) == 64]
    found.close()
    again = Harbor(str(tmp_path / "answer"), store=str(tmp_path / "store"), test_share=0)
    image = again.image(again.tasks("train")[0])
    assert len(left) == len(image.layers) + 1, "the image's layers and the tests' are all there is"


def test_a_separate_image_of_tests_gets_what_is_named_and_nothing_else(tmp_path: Path) -> None:
    toml = TOML.replace("[verifier]", "[verifier]\nenvironment_mode = 'separate'")
    test = """#!/bin/bash
[ -e /judge/made ] && [ ! -e /app/other ] && [ ! -e /root/.planted ] || exit 1
cmp /app/out/answer.txt /tests/expected.txt && echo 1 > /logs/verifier/reward.txt
"""
    recipe = "FROM debian\nWORKDIR /judge\nRUN touch made\nCOPY . /tests/\n"
    files = {
        **SIMPLE,
        "task.toml": f"artifacts = ['/app/out']\n{toml}",
        "tests/test.sh": test,
        "tests/expected.txt": "42\n",
        "tests/Dockerfile": recipe,
        "solution/solve.sh": "#!/bin/bash\nmkdir -p out; echo 42 > out/answer.txt\n",
    }
    written(tmp_path / "answer", files)
    found = Harbor(str(tmp_path / "answer"), store=str(tmp_path / "store"), test_share=0)
    (task,) = found.tasks("train")
    gold = found.gold_policy(task)
    assert gold is not None
    assert asyncio.run(played(found, task, gold)).grade.passed
    honest = (
        "mkdir out; echo 42 > out/right; ln -s right out/answer.txt; touch other /root/.planted"
    )
    assert graded(found, "answer", honest).passed
    for command in (
        "true",
        "mkdir out; ln -s /tests/expected.txt out/answer.txt",
        "ln -s /tests out",
        "mkdir -p out /tests; echo 1 > /logs/verifier/reward.txt; echo 41 > out/answer.txt",
        "rm -rf /logs; mkdir -p /logs/artifacts out; ln -s ../verifier /logs/artifacts/x",
    ):
        grade = graded(found, "answer", command)
        assert (grade.reward, grade.passed) == (0.0, False), (command, grade)
    found.close()
