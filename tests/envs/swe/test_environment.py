"""The environment: the solution passes through the tools, nobody sees the tests, boxes may die."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from munro.envs import loader
from munro.envs.check.playing import played
from munro.envs.swe import BadTask, Swe, changes_in, gold_calls
from munro.envs.swe.changes import merged
from munro.envs.swe.folder import write_folder
from munro.envs.tool_use import spoken
from munro.rewards.errors import EnvironmentFailure
from munro.rewards.sandbox import Change, Kind
from tests.envs.swe.boxes import Bench
from tests.envs.swe.tasks import ROADS, STONES, task_of


@pytest.fixture(scope="module")
def folder(swe: Bench, tmp_path_factory) -> Path:
    top = tmp_path_factory.mktemp("tasks")
    for small in (STONES, ROADS):
        task = task_of(small, swe)
        write_folder(task, top / task.id)
    return top


@pytest.fixture(scope="module")
def env(swe: Bench, folder: Path) -> Iterator[Swe]:
    env = loader.load("swe", path=str(folder), store=str(swe.store), test_share=0.0)
    assert isinstance(env, Swe)
    yield env
    env.sandbox.close()


def test_the_solution_passes_through_the_tools_and_doing_nothing_does_not(env: Swe) -> None:
    for task in env.tasks("train"):
        done = asyncio.run(played(env, task, env.gold_policy(task)))
        assert done.grade.passed, done.grade
        assert done.grade.reward == 1
        idle = asyncio.run(played(env, task, ["I am done."]))
        assert not idle.grade.passed
        assert idle.grade.reward == 0
        assert idle.grade.parts["tampered"] == 0


def test_hidden_tests_are_in_no_prompt_payload_or_box(env: Swe) -> None:
    hidden = ("test_no_wall", "height([[]1, 2, 4[]])", "join('/a/', 'b/')", "self.assertIn('c', jo")
    patterns = " ".join(f'-e "{each}"' for each in hidden)
    look = f"grep -rsl {patterns} / --exclude-dir={{proc,sys,usr,python}}; true"
    for task in env.tasks("train"):
        assert set(task.payload) == {"folder", "digest"}
        assert not any(name in repr(task) for name in hidden)
        call = json.dumps({"name": "bash", "arguments": {"command": look}})
        done = asyncio.run(played(env, task, [f"<tool_call>{call}</tool_call>", "Done."]))
        assert done.trajectory.messages[1].content == "(no output)"


def test_an_episode_whose_box_died_goes_on_and_all_that_it_did_counts(env: Swe) -> None:
    async def play() -> None:
        (task,) = [task for task in env.tasks("train") if task.id.startswith("stones")]
        turns = list(gold_calls(env.folder(task).gold(env.store)))
        assert len(turns) == 2
        first = env.start(task)
        await first.reply(spoken(turns[0], 0))
        await first.reply(
            spoken(
                '<tool_call>{"name": "bash", "arguments": {"command":'
                ' "rm README.md; echo 1 > a; mkdir b; echo 2 > b/c"}}</tool_call>',
                1,
            )
        )
        saved = await first.save()
        await first.close()
        second = await env.restore(task, saved)
        await second.reply(spoken(turns[1], 2))
        await second.reply(
            spoken(
                '<tool_call>{"name": "bash", "arguments": {"command":'
                ' "rm -r b; echo 3 > b"}}</tool_call>',
                3,
            )
        )
        found = {each.path: each for each in changes_in(second.state["box"])}
        assert {path: str(each.kind) for path, each in found.items()} == {
            "README.md": "deleted",
            "a": "file",
            "b": "file",
            "stones.py": "file",
        }
        grade = env.grade(task, "", second.state)
        assert grade.passed, grade
        await second.close()

    asyncio.run(play())


def test_a_task_that_was_changed_meanwhile_is_a_failure_not_a_grade(
    swe: Bench, folder: Path, tmp_path: Path
) -> None:
    task = task_of(STONES, swe)
    write_folder(task, tmp_path / "x")
    env = Swe(str(tmp_path), store=str(swe.store), test_share=0.0)
    (drawn,) = env.tasks("train")
    file = tmp_path / "x/tests/files" / STONES.test
    file.write_text("def test_top(): pass\n")
    with pytest.raises(EnvironmentFailure, match="was changed since the task was proven"):
        env.image(drawn)
    with pytest.raises(BadTask, match="was changed since the task was proven"):
        Swe(str(tmp_path), store=str(swe.store))
    from dataclasses import replace

    write_folder(replace(task, test_s=9.0, statement="Another."), tmp_path / "x")
    (tmp_path / "x/environment/image.toml").write_text(
        (folder / "roads-1/environment/image.toml").read_text()
    )
    with pytest.raises(EnvironmentFailure, match="holds another task than when"):
        env.image(drawn)


def test_sides_are_by_digest_and_disjoint(swe: Bench, folder: Path) -> None:
    half = Swe(str(folder), store=str(swe.store), test_share=0.5)
    names = [{task.id for task in half.tasks(side)} for side in ("train", "test")]
    assert names[0] | names[1] == {"stones-1", "roads-1"}
    assert not names[0] & names[1]


def test_what_is_wrong_with_a_folder_or_an_argument_is_one_line(tmp_path: Path) -> None:
    for arguments, said in (
        ({"path": str(tmp_path / "no")}, "there is no such folder"),
        ({"path": str(tmp_path)}, "holds no task's folder"),
        ({"path": str(tmp_path), "reward": "all"}, "write 'solved' or 'graded'"),
        ({"path": str(tmp_path), "test_share": 1.0}, r"give a share in \[0, 1\)"),
        ({"path": str(tmp_path), "prompt": "Do it."}, "it must hold {statement}"),
    ):
        with pytest.raises(loader.BadEnvironment, match=said):
            loader.load("swe", **arguments)
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs/task.toml").write_text('schema_version = "1.4"\n')
    with pytest.raises(loader.BadEnvironment, match="Munro did not make"):
        loader.load("swe", path=str(tmp_path))


def test_later_changes_are_over_earlier_ones() -> None:
    def file(path: str, contents: bytes = b"") -> Change:
        return Change(path=path, kind=Kind.FILE, contents=contents)

    first = [Change(path="d", kind=Kind.FOLDER, hides_below=True), file("d/a"), file("e", b"1")]
    assert merged([first, [Change(path="d", kind=Kind.DELETED)]]) == [
        Change(path="d", kind=Kind.DELETED),
        first[2],
    ]
    plain = Change(path="d", kind=Kind.FOLDER)
    assert merged([first, [plain, file("d/b"), file("e", b"2")]]) == [
        first[0],
        first[1],
        file("d/b"),
        file("e", b"2"),
    ]
