"""An environment behind the line: played, saved, replaced, and gone without a trace."""

from __future__ import annotations

import ast
import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from munro.envs import EnvironmentFailure
from munro.envs.base import call
from munro.envs.check import check
from munro.envs.remote import SIDES
from munro.envs.tool_use import spoken
from munro.envs.types import Ending
from tests.envs.remote import sides

CALL = '<tool_call>{"name": "shout", "arguments": {"text": "cairn"}}</tool_call>'


@pytest.mark.slow
def test_the_check_proves_a_side() -> None:
    report = check("remote", python=sys.executable, side="echo")
    assert (report.problems, report.warnings) == ((), ())
    assert (report.num_train, report.num_test) == (4, 4)
    assert report.gold[-1] in ("MUNRO", "CAIRN", "BELAY", "SCREE")


def test_an_episode_is_played_with_tools_and_parts() -> None:
    env = sides.of("echo")
    done = sides.play(env, env.tasks("train")[1], CALL, "CAIRN")
    assert done.grade.passed
    assert done.grade.parts == {"shouted": 1.0}
    assert [m.content for m in done.trajectory.messages] == ["", "CAIRN", "CAIRN"]
    (record,) = done.trajectory.calls
    assert (record.name, record.ok) == ("shout", True)
    assert done.trajectory.ending is Ending.ANSWERED


def test_many_episodes_share_a_process_at_once() -> None:
    env = sides.of("echo")
    tasks = list(env.tasks("train"))

    async def one(number: int) -> bool:
        task = tasks[number % len(tasks)]
        episode = await call(env.start, task)
        seen = await call(episode.reply, spoken(CALL, 0))
        await call(episode.close)
        return bool(seen[0].content == "CAIRN")

    async def all_of_them() -> list[bool]:
        return await asyncio.gather(*map(one, range(64)))

    assert all(asyncio.run(all_of_them()))
    assert len(env.pids()) == 1


@pytest.mark.slow
def test_episodes_are_dealt_to_several_processes(tmp_path: Path) -> None:
    env = sides.of(
        sides.written(
            tmp_path,
            "def start(self, task): return os.getpid()\n"
            "def reply(self, e, m): return None\n"
            "def grade(self, e, t): return float(e)",
        ),
        processes=2,
    )
    task = sides.first(env)

    async def pair() -> set[float]:
        one, two = await call(env.start, task), await call(env.start, task)
        grades = [await call(e.grade, done.trajectory) for e in (one, two)]
        await asyncio.gather(call(one.close), call(two.close))
        return {grade.reward for grade in grades}

    done = sides.play(env, task, "x")
    assert len(asyncio.run(pair())) == 2


def test_a_dead_process_fails_its_episodes_and_the_next_ones_get_another() -> None:
    env = sides.of("echo")
    task = sides.first(env)

    async def broken() -> None:
        episode = await call(env.start, task)
        sides.kill_side(env)
        with pytest.raises(
            EnvironmentFailure, match="side echo: the process was ended by signal 9"
        ):
            await call(episode.reply, spoken(CALL, 0))
        await call(episode.close)

    asyncio.run(broken())
    assert sides.play(env, env.tasks("train")[1], CALL, "CAIRN").grade.passed


def test_a_saved_episode_goes_on_in_another_process() -> None:
    env = sides.of("echo")
    task = env.tasks("train")[1]

    async def lost() -> bytes:
        episode = await call(env.start, task)
        await call(episode.reply, spoken(CALL, 0))
        saved = await call(episode.save)
        sides.kill_side(env)
        await call(episode.close)
        return saved

    async def found(saved: bytes) -> float:
        done = await call(env.restore, task, saved)
        grade = await call(done.grade, played.trajectory)
        await call(done.close)
        return grade.parts["shouted"]

    saved = asyncio.run(lost())
    played = sides.play(env, task, "CAIRN")
    assert played.grade.parts["shouted"] == 0.0
    assert asyncio.run(found(saved)) == 1.0


def test_a_call_that_hangs_is_killed_with_its_process_once_nobody_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("munro.envs.remote.process.GRACE_S", 0.2)
    env = sides.of(sides.written(tmp_path, "def reply(self, e, m): time.sleep(1000)"))
    task = sides.first(env)
    pids = sides.below(env.pids()[0])

    async def hung() -> None:
        episode = await call(env.start, task)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await call(episode.reply, spoken(CALL, 0))
        await call(episode.close)

    asyncio.run(hung())
    assert sides.gone(pids)


def test_its_own_limit_ends_a_call_where_nobody_else_does(tmp_path: Path) -> None:
    env = sides.of(sides.written(tmp_path, "def grade(self, e, t): time.sleep(1000)"), call_s=0.5)
    with pytest.raises(EnvironmentFailure, match="no answer to 'grade' in its time"):
        sides.play(env, sides.first(env), "x")


PARENT = """
import sys, time
from munro.envs.remote import Remote
env = Remote(python=sys.executable, side={side!r})
print(env.pids()[0], flush=True)
time.sleep(1000)
"""
CHILDREN = """
def __init__(self):
    super().__init__()
    import subprocess
    subprocess.Popen(["sleep", "1000"], start_new_session=True)
    if os.fork() == 0:
        if os.fork() == 0: time.sleep(1000)
        os._exit(0)
"""


@pytest.mark.parametrize(
    "how", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_nothing_is_left_when_the_worker_is_killed(tmp_path: Path, how: signal.Signals) -> None:
    side = sides.written(tmp_path, CHILDREN)
    (tmp_path / "tmp").mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", PARENT.format(side=str(side))],
        stdout=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path / "tmp")},
    ) as worker:
        assert worker.stdout is not None
        pids = sides.below(int(worker.stdout.readline()))
        folders = list((tmp_path / "tmp").iterdir())
        os.kill(worker.pid, how)
    assert len(pids) >= 4  # keeper, side, sleep, the orphan
    assert len(folders) == 1
    assert sides.gone(pids)
    assert list((tmp_path / "tmp").iterdir()) == []


def test_nothing_is_left_when_the_side_is_killed_or_the_environment_let_go(tmp_path: Path) -> None:
    env = sides.of(sides.written(tmp_path, CHILDREN))
    pids = sides.below(env.pids()[0])
    sides.kill_side(env)
    assert sides.gone(pids)
    env = sides.of(sides.written(tmp_path, CHILDREN))
    pids = sides.below(env.pids()[0])
    del env
    assert sides.gone(pids)


@pytest.mark.slow
def test_a_side_that_leaks_is_ended(tmp_path: Path) -> None:
    body = "def reply(self, e, m):\n    self.kept = bytearray(300 << 20)\n    time.sleep(1000)"
    env = sides.of(sides.written(tmp_path, body), memory_mb=200)
    with pytest.raises(EnvironmentFailure, match="took more memory than it may"):
        sides.play(env, sides.first(env), "x")  # which sleeps for 1,000 seconds unless it is ended


def test_tasks_may_be_many_or_without_end(tmp_path: Path) -> None:
    many = (
        "def tasks(self, split):\n    class Many:\n"
        "        def __len__(self): return 10**6\n"
        "        def __getitem__(self, n): return {'id': str(n), 'prompt': str(n)}\n"
        "    return Many()"
    )
    tasks = sides.of(sides.written(tmp_path, many)).tasks("train")
    assert (len(tasks), tasks[999_999].id, tasks[5].id) == (10**6, "999999", "5")
    endless = (
        "def tasks(self, split):\n    n = 0\n    while True:\n"
        "        yield {'id': str(n), 'prompt': str(n)}\n        n += 1"
    )
    stream = iter(sides.of(sides.written(tmp_path, endless)).tasks("train"))
    assert [next(stream).id for _ in range(200)] == [str(n) for n in range(200)]


def test_sides_are_of_python_3_10_and_import_nothing_of_ours() -> None:
    for file in SIDES.rglob("*.py"):
        tree = ast.parse(file.read_text(), feature_version=(3, 10))
        names = {
            (alias.name if isinstance(node, ast.Import) else node.module or "").split(".")[0]
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        }
        if file.stem != "isolated":
            assert names <= {*sys.stdlib_module_names}, file
