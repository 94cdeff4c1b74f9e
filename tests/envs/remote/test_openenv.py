"""OpenEnv: the side's own logic, and servers that `openenv init` made, in the package's venv."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from munro.envs import EnvironmentFailure, load
from munro.envs.base import call
from munro.envs.check import check, play
from munro.envs.loader import BadEnvironment
from munro.envs.remote import Remote
from munro.envs.remote.wire import BadSide
from munro.envs.remote_side import openenv
from munro.envs.tool_use import spoken
from tests.envs.remote import storms
from tests.envs.remote.sides import kill_side

FOREIGN = Path(__file__).parent / "foreign"
COMMANDS = (
    "python3 -m venv V; V/bin/pip install --no-deps openenv==0.10.0; V/bin/pip install fastapi "
    "uvicorn pydantic websockets requests typer rich pyyaml tomli tomli-w httpx packaging "
    "jsonschema huggingface_hub openai 'fastmcp>=3,<4'"
)


class Wire:
    """A WebSocket that says what it is told to, and then is lost."""

    def __init__(self, *answers: dict[str, Any]) -> None:
        self._answers = list(answers)
        self.sent: list[Any] = []

    async def send(self, text: str) -> None:
        self.sent.append(json.loads(text))

    async def recv(self) -> str:
        if not self._answers:
            raise ConnectionError("the connection is lost")
        return json.dumps(self._answers.pop(0))


def seen(reward: float | None, *, done: bool = False, **fields: Any) -> dict[str, Any]:
    data = {"observation": fields, "reward": reward, "done": done}
    return {"type": "observation", "data": data}


def refused(code: str, **more: Any) -> dict[str, Any]:
    return {"type": "error", "data": {"code": code, "message": "no", **more}}


def test_a_step_is_what_the_server_says_of_it() -> None:
    session = openenv.Session(Wire(seen(0.25, text="warm"), seen(1, done=True, a=1, metadata={})))
    assert asyncio.run(session.step({"message": "a"})) == ("warm", "")
    assert asyncio.run(session.step({"message": "b"})) == ('{"a": 1}', "")
    assert (session.rewards, session.is_done, session.num_steps) == ([0.25, 1.0], True, 2)


def test_a_wrong_action_is_told_and_a_broken_environment_is_not_scored() -> None:
    errors = [{"loc": ["message"], "msg": "Field required"}]
    session = openenv.Session(Wire(refused("VALIDATION_ERROR", errors=errors)))
    assert asyncio.run(session.step({})) == ("", "message: Field required")
    assert session.num_steps == 0
    session = openenv.Session(Wire(refused("EXECUTION_ERROR")))
    with pytest.raises(RuntimeError, match="could not step: no"):
        asyncio.run(session.step({}))
    # nothing is connected anew: that would be another session, graded for this one
    with pytest.raises(ConnectionError):
        asyncio.run(session.step({}))
    with pytest.raises(openenv.Full):
        asyncio.run(openenv.Session(Wire(refused("CAPACITY_REACHED"))).reset({}))


@pytest.mark.parametrize(
    ("way", "reward", "passed"), [("last", 0.5, False), ("sum", 1.75, True), ("max", 1.0, True)]
)
def test_what_an_episode_is_paid(way: str, reward: float, passed: bool) -> None:
    grade = openenv.graded([0.25, 1.0, 0.5], 3, way, 1.0)
    assert (grade["reward"], grade["passed"]) == (reward, passed)
    assert openenv.graded([], 0, way, 1.0)["reward"] == 0
    with pytest.raises(RuntimeError, match="no reward"):
        openenv.graded([], 3, way, 1.0)


def test_what_is_wrong_with_its_arguments_is_one_line(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"reset": {"seed": 1}}\n\nnot json\n')
    for args, line in [
        ({}, "give server .* or url"),
        ({"server": "a", "url": "http://b"}, "give server .* or url"),
        ({"url": "http://b", "reward": "first"}, "it is one of last, sum, max"),
        ({"server": str(tmp_path)}, "holds no openenv.yaml"),
        ({"url": "http://b", "rows": str(rows)}, r"rows.jsonl, line 3 is no JSON"),
        ({"url": "http://b", "rows": str(tmp_path / "none")}, "cannot be read"),
        ({"url": "http://127.0.0.1:9"}, "does not answer"),
    ]:
        with pytest.raises(ValueError, match=line):
            asyncio.run(openenv.Side(**args).begin())  # type: ignore[arg-type]


def test_a_missing_package_is_one_line_with_the_command(tmp_path: Path) -> None:
    (tmp_path / "openenv.yaml").write_text("app: server.app:app\n")
    with pytest.raises(BadEnvironment, match=r"-m pip install openenv==0\.10\.0$"):
        load("remote", python=sys.executable, side="openenv", server=str(tmp_path))


@pytest.fixture(scope="module")
def python() -> str:
    return storms.venv("MUNRO_VENV_OPENENV", COMMANDS)


def made(python: str, folder: Path, name: str = "word_env") -> Path:
    """What `openenv init` makes."""
    program = [str(Path(python).with_name("openenv")), "init", name, "--output-dir", str(folder)]
    subprocess.run(program, check=True, capture_output=True)
    return folder / name


def rows_of(folder: Path, *rows: dict[str, Any]) -> str:
    file = folder / "rows.jsonl"
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return str(file)


def words(python: str, folder: Path) -> tuple[Path, str]:
    """The made environment, filled with one that can be learned, and its rows."""
    server = made(python, folder)
    text = (FOREIGN / "openenv_words.py").read_text()
    (server / "server" / "word_env_environment.py").write_text(text)
    app = server / "server" / "app.py"
    app.write_text(app.read_text().replace("max_concurrent_envs=1", "max_concurrent_envs=64"))
    names = ("munro", "cairn", "belay", "scree", "tarn", "corrie", "bothy", "ridge")
    rows = [
        {
            "id": name,
            "reset": {"seed": seed},
            "gold": [[{"name": "step", "arguments": {"message": name[::-1]}}]],
            "split": "test" if seed == 7 else "train",
        }
        for seed, name in enumerate(names)
    ]
    return server, rows_of(folder, *rows)


@pytest.mark.slow
def test_the_template_as_it_is(python: str, tmp_path: Path) -> None:
    told = "Echo a message of at least ten characters."
    rows = rows_of(tmp_path, {"prompt": told, "gold": ["a long message"]})
    server = str(made(python, tmp_path))
    environment = Remote(python, "openenv", server=server, rows=rows, say="message")
    (task,) = environment.tasks("train")
    assert asyncio.run(storms.passed(environment, task, ["a long message"]))
    grade, _ = asyncio.run(play(environment, task, storms.NOOP))
    assert (grade.reward, grade.passed) == (pytest.approx(0.4), False)
    # it pays for any text of ten characters, so there is nothing to learn, and the check says so
    report = check("remote", python=python, side="openenv", server=server, rows=rows, say="message")
    assert any("so there is nothing to learn" in problem for problem in report.problems)


@pytest.mark.slow
def test_an_environment_that_can_be_learned_passes_the_check(python: str, tmp_path: Path) -> None:
    server, rows = words(python, tmp_path)
    report = check("remote", python=python, side="openenv", server=str(server), rows=rows)
    assert (report.problems, report.num_train, report.num_test) == ((), 7, 1)
    environment = Remote(python, "openenv", server=str(server), seeds=20)
    assert [len(list(environment.tasks(split))) for split in ("train", "test")] == [20, 4]
    (task, *_) = environment.tasks("train")
    assert "Send 'munro' back to front." in task.messages[-1].content
    crash = '<tool_call>{"name": "step", "arguments": {"message": "crash"}}</tool_call>'
    with pytest.raises(EnvironmentFailure, match="the environment is broken"):
        asyncio.run(play(environment, task, [crash]))
    with pytest.raises(BadSide, match="give rows, or seeds"):
        load("remote", python=python, side="openenv", server=str(server)).tasks("train")


@pytest.mark.slow
def test_a_server_of_tools(python: str, tmp_path: Path) -> None:
    server = made(python, tmp_path)
    (server / "server" / "app.py").write_text((FOREIGN / "openenv_tools.py").read_text())
    calls = [[{"name": "read_note", "arguments": {}}]]
    calls += [[{"name": "open_safe", "arguments": {"code": "4711"}}]]
    rows = rows_of(tmp_path, {"prompt": "Open the safe.", "gold": [*calls]})
    report = check("remote", python=python, side="openenv", server=str(server), rows=rows)
    assert report.problems == ()
    assert report.task is not None
    assert [t["function"]["name"] for t in report.task.tools] == ["read_note", "open_safe"]


@pytest.mark.slow
def test_a_server_elsewhere_frees_the_session_of_one_that_was_killed(
    python: str, tmp_path: Path
) -> None:
    server = made(python, tmp_path)  # takes one session, as the template has it
    rows = rows_of(tmp_path, {"prompt": "Echo.", "gold": [[], "done"]})
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = [python, "-m", "uvicorn", "server.app:app", "--port", str(port)]
    with subprocess.Popen(program, cwd=server, stderr=subprocess.DEVNULL) as running:
        try:
            environment = answering(python, f"http://127.0.0.1:{port}", rows)
            (task,) = environment.tasks("train")
            held = asyncio.run(call(environment.start, task))
            with pytest.raises(EnvironmentFailure, match="raise max_concurrent_envs"):
                asyncio.run(play(environment, task, storms.NOOP))
            kill_side(environment)
            # the attempt that held the place is lost, not scored, and the place is free again
            with pytest.raises(EnvironmentFailure):
                asyncio.run(call(held.reply, spoken("hello", 0)))
            assert not asyncio.run(storms.passed(environment, task, storms.NOOP))
            asyncio.run(call(held.close))
        finally:
            running.kill()


def answering(python: str, url: str, rows: str) -> Remote:
    """The environment of a server that has just been started, once it answers."""
    for _ in range(100):
        with suppress(ValueError):
            return Remote(python, "openenv", url=url, rows=rows)
        time.sleep(0.2)
    raise AssertionError("the server does not answer")


@pytest.mark.slow
def test_two_hundred_episodes_and_two_kills(python: str, tmp_path: Path) -> None:
    server, rows = words(python, tmp_path)
    environment = Remote(python, "openenv", server=str(server), rows=rows, sessions=64)
    found = storms.storm(environment, list(environment.tasks("train")))
    assert (found.right, found.wrong) == (200, [])
    assert found.unscored.total() > 0
