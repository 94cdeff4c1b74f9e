"""verifiers 0.4 in an interpreter of its own: a task set of its v1 is proven and played.

    MUNRO_VERIFIERS=/path/to/venv/bin/python pytest -m slow tests/envs/remote/test_verifiers.py

Without the variable a venv is made by the documented command; where that fails the tests are
skipped with what pip said.
"""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import venv
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest

from munro.envs import EnvironmentFailure, Task
from munro.envs.base import call
from munro.envs.check import check, played
from munro.envs.remote import Remote
from tests.envs.remote import sides

LEDGER = Path(__file__).parent / "foreign" / "ledger.py"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An interpreter that has verifiers 0.4."""
    if given := os.environ.get("MUNRO_VERIFIERS"):
        return given
    folder = tmp_path_factory.mktemp("verifiers")
    venv.create(folder, with_pip=True)
    made = str(folder / "bin" / "python")
    install = [made, "-m", "pip", "install", "-q", "verifiers>=0.4,<0.5"]
    done = subprocess.run(install, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"verifiers 0.4 cannot be installed here: {done.stderr.strip()[-200:]}")
    return made


def args(python: str, **more: Any) -> dict[str, Any]:
    gold = f"{LEDGER}:gold"
    return {"python": python, "side": "verifiers", "taskset": str(LEDGER), "gold": gold, **more}


def test_the_check_proves_a_task_set(python: str) -> None:
    report = check("remote", check_deadline_s=240, **args(python))
    assert (report.problems, report.warnings) == ((), ())
    assert (report.num_train, report.num_test) == (34, 6)
    assert report.task is not None
    assert [one["function"]["name"] for one in report.task.tools] == [
        "bank_balance",
        "bank_close_bank",
        "bank_move",
    ]
    assert report.grade is not None
    assert report.grade.parts == {"answered": 1.0, "moved": 1.0, "tool_calls": 2.0}


def test_wrong_calls_are_observations_and_a_stop_ends_it(python: str) -> None:
    env = Remote(**args(python))
    task = sides.first(env)

    def asks(name: str, arguments: str) -> str:
        return f'<tool_call>{{"name": "{name}", "arguments": {arguments}}}</tool_call>'

    wrong = [
        asks("bank_move", '{"source": "ada", "target": "bo", "coins": 1000}'),
        asks("bank_move", '{"source": "ada"}'),
        asks("bank_balance", '{"name": "nobody"}'),
        asks("nothing", "{}"),
        asks("bank_balance", '"ada"'),
    ]
    done = sides.play(env, task, "\n".join(wrong), asks("bank_close_bank", "{}"), "not heard")
    errors = [record.error for record in done.trajectory.calls]
    assert "that cannot be moved" in errors[0]
    assert "target" in errors[1]
    assert "nobody" in errors[2]
    assert "unknown tool 'nothing'" in errors[3]
    assert "no JSON object" in errors[4]
    assert errors[5] == ""  # it printed, too
    assert [m.content for m in done.trajectory.messages if m.role == "assistant"][-1] == ""
    assert (done.grade.reward, done.grade.passed) == (0.0, False)


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("class T(vf.Task):\n    NEEDS_CONTAINER = True", "T needs a container"),
        (
            "class T(vf.Task):\n    @vf.intercept\n    def i(self, r: vf.Request): pass",
            "@intercept",
        ),
        ("class T(vf.Task):\n    DATA = dict(image='box:1')", "needs a container (box:1)"),
        ("class T(vf.Task):\n    DATA = dict(prompt=None)", "has no prompt"),
        ("class T(vf.Task): pass\nclass E(vf.Env[vf.SingleAgentEnvConfig]): pass", "own (E)"),
        ("nonsense = 1 / 0", "ZeroDivisionError"),
    ],
)
def test_what_is_not_played_is_one_line(python: str, tmp_path: Path, source: str, why: str) -> None:
    file = tmp_path / "theirs.py"
    file.write_text(
        f"import verifiers.v1 as vf\n{source}\n"
        "class S(vf.Taskset[T, vf.TasksetConfig]):\n"
        "    def load(self):\n"
        "        data = {'prompt': 'x', **getattr(T, 'DATA', {})}\n"
        "        yield T(vf.TaskData(**data), self.config.task)\n"
        "__all__ = ['S', 'E'] if 'E' in globals() else ['S']\n"
    )
    given = {"python": python, "side": "verifiers", "taskset": str(file), "test_share": 0}
    (problem,) = check("remote", check_deadline_s=240, **given).problems
    assert why in problem
    assert "\n" not in problem


def test_200_episodes_with_the_process_killed_twice(
    python: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None hangs, none is scored wrongly, no process and no folder is left."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    env = Remote(**args(python, config={"num": 60}))
    tasks = list(env.tasks("train"))
    rng = random.Random(0)
    seen: Counter[str] = Counter()
    keepers = set(env.pids())
    num_done = 0

    async def one(number: int, room: asyncio.Semaphore) -> tuple[bool, float]:
        nonlocal num_done
        task, is_gold = tasks[number % len(tasks)], number % 2 == 0
        async with room:
            for _ in range(6):
                try:
                    policy = await gold_of(env, task) if is_gold else ["done"]
                    done = await asyncio.wait_for(played(env, task, policy), 120)
                    break
                except EnvironmentFailure as failure:
                    seen[str(failure).partition(": ")[2][:60]] += 1
            else:
                raise AssertionError("six times in a row")
            num_done += 1
            seen["graded"] += 1
            keepers.update(env.pids())
            if num_done in (60, 130):
                sides.kill_side(env)
                seen["killed"] += 1
            await asyncio.sleep(rng.random() / 50)
        return is_gold, done.grade.reward

    async def all_of_them() -> list[tuple[bool, float]]:
        room = asyncio.Semaphore(24)
        return await asyncio.gather(*(one(number, room) for number in range(200)))

    grades = asyncio.run(all_of_them())
    wrong = sum(reward != float(is_gold) for is_gold, reward in grades)
    pids = [pid for keeper in env.pids() for pid in sides.below(keeper)]
    env.close()
    assert sides.gone([*pids, *keepers], 10)
    assert list(tmp_path.iterdir()) == []
    told = f"{len(grades)} episodes, {wrong} scored wrongly; {dict(seen)}"
    sys.stderr.write(f"\n{told}\n")
    assert (len(grades), wrong, seen["killed"]) == (200, 0, 2)
    assert not [one for one in psutil.Process().children(recursive=True) if one.pid in keepers]


async def gold_of(env: Remote, task: Task) -> Any:
    return await call(env.gold_policy, task)


if __name__ == "__main__":
    sys.exit(pytest.main([__file__, "-m", "slow", "-s"]))
