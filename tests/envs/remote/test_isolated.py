"""`isolate = true`: what a user's environment does in its process costs only its own attempts."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from munro.envs import BadEnvironment, EnvironmentFailure
from munro.envs.base import call
from munro.envs.check import check, check_config, gold_of, played
from munro.envs.config import EnvConfig
from munro.envs.loader import load_config, resolve_config
from munro.envs.problem_set import ProblemSet
from munro.envs.remote.isolated import Isolated
from munro.envs.tool_use import spoken
from tests.envs.remote import sides

FILE = """
import ctypes, json, os, sys, time
from munro.envs import Budget, Episode, Environment, Grade, Message, SingleTurn, Task, ToolUse, tool

class Mine(ToolUse):
    name = "mine"
    file_args = ("words",)
    budget = Budget(turns=5)

    def __init__(self, words=""):
        self.words = words
        print("made")

    def tasks(self, split):
        return [Task(id=f"{split}-{n}", prompt=f"add {n}", payload={"n": n}) for n in range(3)]

    def setup(self, task):
        return {"sum": 0}

    @tool
    def add(self, n: int, state) -> int:
        "Add a number."
        if n == 11: ctypes.string_at(0)
        if n == 12: os._exit(0)
        if n == 13: time.sleep(1000)
        if n == 14: sys.exit(1)
        if n == 15: print("x" * 10**6, flush=True); os.write(1, b"garbage" * 1000)
        if n == 16: self.kept = b"x" * (400 << 20); time.sleep(1000)
        state["sum"] += n
        return state["sum"]

    def save_state(self, state): return json.dumps(state).encode()
    def restore_state(self, task, saved): return json.loads(saved)

    def grade(self, task, reply, state):
        if reply == "nan": return float("nan")
        if reply == "none": return None
        return Grade(reward=float(state["sum"]), passed=state["sum"] == task.payload["n"] + 1,
                     parts={"pid": os.getpid()}, reason="é")

    def gold_policy(self, task):
        said = []
        def policy(seen):
            said.append(len(seen))
            n = task.payload["n"] + 1
            if seen: return "done"
            return f'<tool_call>{{"name": "add", "arguments": {{"n": {n}}}}}</tool_call>'
        return policy

    def careless_reply(self, task, draw): return f"{task.id} {draw}"

    def grade_group(self, task, trajectories, grades):
        assert trajectories[0].token_ids.dtype == "int32" and trajectories[0].num_sampled == 2
        return [Grade.of(g.reward + 100) for g in grades]
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("isolated") / "my_env.py"
    path.write_text(FILE)
    return path


@pytest.fixture(scope="module")
def env(file: Path) -> Any:
    return made(file)


def made(file: Path, **more: Any) -> Any:
    return load_config(EnvConfig(path=str(file), isolate=True, **more))


def add(number: int) -> str:
    arguments = json.dumps({"n": number})
    return f'<tool_call>{{"name": "add", "arguments": {arguments}}}</tool_call>'


def test_it_is_the_same_environment(env: Any) -> None:
    task = env.tasks("train")[1]
    assert (env.name, env.budget.turns, env.restores, env.compares) == ("mine", 5, True, True)
    done = sides.play(env, task, add(2), "done")
    assert (done.grade.reward, done.grade.passed, done.grade.reason) == (2.0, True, "é")
    assert [call.ok for call in done.trajectory.calls] == [True]
    assert env.careless_reply(task, 0.5) == "train-1 0.5"
    assert gold_of(env, task) == ()  # its gold is a policy
    group = asyncio.run(call(env.grade_group, task, [done.trajectory], [done.grade]))
    assert [grade.reward for grade in group] == [102.0]


@pytest.mark.slow
def test_the_check_proves_it_and_says_what_is_wrong_with_it(file: Path, tmp_path: Path) -> None:
    report = check_config(EnvConfig(path=str(file), isolate=True), num_tasks=2)
    assert (report.problems, report.num_train) == ((), 3)
    bad = tmp_path / "bad.py"
    for source, why in {
        "import os; os._exit(3)": "the process ended by itself with status 3",
        "import ctypes; ctypes.string_at(0)": "was ended by signal 11",
        "1 / 0": "ZeroDivisionError: division by zero",
        "x = 1": "holds no environment",
    }.items():
        bad.write_text(source + "\n")
        (problem,) = check(str(bad), isolate=True).problems
        assert why in problem
        assert "\n" not in problem


@pytest.mark.parametrize(
    ("number", "why"),
    [
        (11, "was ended by signal 11"),
        pytest.param(12, "ended by itself with status 0", marks=pytest.mark.slow),
        (14, "Quit: SystemExit: 1"),
    ],
)
def test_what_ends_it_fails_its_attempts_and_nothing_else(env: Any, number: int, why: str) -> None:
    task = env.tasks("train")[0]
    with pytest.raises(EnvironmentFailure, match=why):
        sides.play(env, task, add(number), "done")
    assert sides.play(env, task, add(1), "done").grade.passed


@pytest.mark.slow
def test_a_leak_is_ended(file: Path) -> None:
    env = made(file, memory_mb=300)
    with pytest.raises(EnvironmentFailure, match="took more memory than it may"):
        sides.play(env, env.tasks("train")[0], add(16), "done")


def test_what_it_prints_does_not_break_the_line(env: Any) -> None:
    assert sides.play(env, env.tasks("train")[0], add(15), "done").grade.reward == 15.0


@pytest.mark.parametrize("reply", ["nan", "none"])
def test_no_grade_is_unscored(env: Any, reply: str) -> None:
    with pytest.raises(EnvironmentFailure, match="grade"):
        sides.play(env, env.tasks("train")[0], reply)


@pytest.mark.slow
def test_a_saved_attempt_goes_on_in_another_process(env: Any) -> None:
    task = env.tasks("train")[1]

    async def lost_and_found() -> float:
        episode = await call(env.start, task)
        await call(episode.reply, spoken(add(2), 0))
        saved = await call(episode.save)
        sides.kill_side(env)
        await call(episode.close)
        again = await call(env.restore, task, saved)
        grade = await call(again.grade, done.trajectory)
        await call(again.close)
        await call(env.forget, task, saved)
        return float(grade.reward)

    done = sides.play(env, task, "done")
    assert asyncio.run(lost_and_found()) == 2.0


@pytest.mark.slow
def test_a_recipe_draws_from_it_combines_it_and_names_its_files_anywhere(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path = file.parent
    config = EnvConfig.model_validate(
        {
            "path": str(file),
            "isolate": True,
            "graders": {"short": {"kind": "brevity"}},
            "reward": "short",
        }
    )
    problems = ProblemSet([config], seed=0)
    task = problems.task(0)
    done = asyncio.run(played(problems.environment(task.env), task, ["done"]))
    assert set(done.grade.parts) == {"short"}
    (tmp_path / "words.txt").write_text("")
    monkeypatch.chdir(tmp_path)
    here = EnvConfig(path="my_env.py", isolate=True, args={"words": "words.txt"})
    there = resolve_config(here)
    assert (there.path, there.args) == (str(file), {"words": str(tmp_path / "words.txt")})


@pytest.mark.slow
def test_an_interpreter_without_munros_needs_is_one_sentence(file: Path) -> None:
    import venv

    folder = file.parent / "bare"
    venv.create(folder, symlinks=True)
    with pytest.raises(BadEnvironment) as refusal:
        made(file, python=str(folder / "bin" / "python"))
    assert "bare/bin/python cannot import what the side needs" in str(refusal.value)
    assert "-m pip install munro" in str(refusal.value)


def test_python_and_memory_are_for_isolated_ones() -> None:
    with pytest.raises(ValueError, match=r"env\.python is for isolate = true"):
        EnvConfig(path="arithmetic", python="/usr/bin/python3")


@pytest.mark.slow
def test_payloads_that_json_cannot_say_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "odd.py"
    file.write_text(
        "from munro.envs import SingleTurn, Task\n"
        "class Odd(SingleTurn):\n"
        "    def tasks(self, split): return [Task(id='a', prompt='a', payload={'x': {1, 2}})]\n"
        "    def grade(self, task, reply): return True\n"
    )
    env = made(file)
    assert isinstance(env, Isolated)
    with pytest.raises(ValueError, match="task 'a' cannot go to another process"):
        env.tasks("train")
