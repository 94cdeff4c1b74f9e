"""NeMo Gym: the side's own logic against a server of our own, and the package's in its own venv."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from munro.envs import load
from munro.envs.check import check, play
from munro.envs.loader import BadEnvironment
from munro.envs.remote import Remote
from munro.envs.remote_side import nemo_gym
from tests.envs.remote import storms

COMMANDS = (
    "python3.12 -m venv V; V/bin/pip install --no-deps nemo-gym==0.4.0; V/bin/pip install "
    "'openai<=2.7.2' fastapi uvicorn uvloop itsdangerous hydra-core omegaconf rich aiohttp ray "
    "orjson psutil requests pandas wandb tqdm yappi gprof2dot pydot python-multipart"
)
TOOL = {"type": "function", "name": "add", "parameters": {"type": "object"}, "strict": False}
ROW = {
    "id": 7,
    "category": "sums",
    "responses_create_params": {
        "input": [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "input_text", "text": "1 + 2?"}]},
        ],
        "tools": [TOOL],
    },
    "ground_truth": [{"name": "add", "arguments": '{"a": 1, "b": 2}'}],
}


class Gym(BaseHTTPRequestHandler):
    """A resource server with one tool; it remembers sessions by a cookie."""

    protocol_version = "HTTP/1.1"
    asked: list[tuple[str, str, Any]] = []  # noqa: RUF012 - one server, one list

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append((self.path, self.headers.get("Cookie", ""), body))
        status, said = 200, {"output": 3}
        match self.path, body:
            case "/add", {"a": "x"}:
                status, said = 422, {"detail": "a is no number"}
            case "/add", {"a": "boom"}:
                status, said = 500, {"detail": "broken"}
            case "/verify", _:
                called = [one for one in body["response"]["output"] if "arguments" in one]
                said = {"reward": float(len(called))}
        data = json.dumps(said).encode()
        self.send_response(status)
        if self.path == "/seed_session":
            held = base64.b64encode(json.dumps({"session_id": "s1"}).encode()).decode()
            self.send_header("Set-Cookie", f"Gym___gym={held}.stamp.sign; path=/; httponly")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    Gym.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Gym) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def side(url: str, folder: Path) -> nemo_gym.Side:
    rows = folder / "rows.jsonl"
    rows.write_text(json.dumps(ROW))
    return nemo_gym.Side(url=url, rows=str(rows))


def called(name: str, arguments: str, error: str = "") -> dict[str, Any]:
    call = {"id": "c1", "name": name, "arguments": arguments, "error": error}
    return {"role": "assistant", "content": "", "tool_calls": [call]}


def test_an_episode_is_a_session_played_as_the_packages_own_agent_plays_it(
    url: str, tmp_path: Path
) -> None:
    gym = side(url, tmp_path)
    (task,) = gym.tasks("train")
    assert gym.tasks("test") == []
    assert [m["role"] for m in task["messages"]] == ["system", "user"]
    assert (task["messages"][1]["content"], task["id"]) == ("1 + 2?", "7")
    assert task["tools"][0]["function"] == {"name": "add", "parameters": {"type": "object"}}
    session = gym.start(task)
    (gold, last) = gym.gold(task) or []
    (answer,) = gym.reply(session, {**gold, "tool_calls": [{**gold["tool_calls"][0], "error": ""}]})
    assert (answer["content"], answer["error"]) == ('{"output": 3}', "")
    assert gym.reply(session, {"role": "assistant", "content": last}) is None
    assert gym.grade(session, {}) == {"reward": 1.0, "passed": True}
    assert session.id == "s1"
    gym.close(session)
    paths, cookies, bodies = zip(*Gym.asked, strict=True)
    assert paths == ("/seed_session", "/add", "/verify")
    assert cookies[0] == ""
    assert all(one.startswith("Gym___gym=") and one.endswith(".sign") for one in cookies[1:])
    assert bodies[0] == ROW
    kinds = [one["type"] for one in bodies[2]["response"]["output"]]
    assert kinds == ["function_call", "function_call_output", "message"]


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("add", "{", "are not JSON"),
        ("add", '{"a": "x"}', "a is no number"),
        ("verify", "{}", "there is no tool 'verify'"),
        ("seed_session", "{}", "there is no tool"),
        ("../add", "{}", "there is no tool"),
    ],
)
def test_a_wrong_call_is_told(
    url: str, tmp_path: Path, name: str, arguments: str, told: str
) -> None:
    gym = side(url, tmp_path)
    session = gym.start(gym.tasks("train")[0])
    (answer,) = gym.reply(session, called(name, arguments)) or []
    assert told in answer["error"]
    assert told in json.loads(answer["content"])["error"]
    assert "/verify" not in {path for path, *_ in Gym.asked}
    gym.close(session)


def test_a_broken_server_scores_nothing(url: str, tmp_path: Path) -> None:
    gym = side(url, tmp_path)
    session = gym.start(gym.tasks("train")[0])
    with pytest.raises(RuntimeError, match="add answered 500"):
        gym.reply(session, called("add", '{"a": "boom"}'))
    gym.close(session)
    with pytest.raises(OSError, match="refused"):
        nemo_gym.Session("http://127.0.0.1:9", ROW).post("verify", {})


def test_what_is_wrong_with_its_arguments_is_one_line(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text(f"{json.dumps(ROW)}\n{json.dumps({'id': 1})}\n")
    for args, line in [
        ({}, "give server .* or url"),
        ({"url": "http://a"}, "url needs rows"),
        ({"url": "http://a", "rows": str(rows)}, "rows.jsonl, line 2 is no row"),
        ({"url": "http://a", "rows": str(tmp_path / "none")}, "cannot be read"),
    ]:
        with pytest.raises(ValueError, match=line):
            nemo_gym.Side(**args)  # type: ignore[arg-type]


def test_a_missing_package_is_one_line_with_the_command() -> None:
    with pytest.raises(BadEnvironment, match=r"-m pip install nemo-gym==0\.4\.0$"):
        load("remote", python=sys.executable, side="nemo_gym", server="workplace_assistant")


@pytest.fixture(scope="module")
def python() -> str:
    return storms.venv("MUNRO_VENV_NEMOGYM", COMMANDS)


@pytest.mark.slow
def test_the_workplace_assistant(python: str) -> None:
    given = {"python": python, "side": "nemo_gym", "server": "workplace_assistant"}
    report = check("remote", **given)
    assert (report.problems, report.num_train) == ((), 5)
    environment = Remote(**given)
    tasks = list(environment.tasks("train"))
    assert {len(task.tools) for task in tasks} == {27}
    for task in tasks:
        said = asyncio.run(storms.gold(environment, task))
        assert asyncio.run(storms.passed(environment, task, said))
        assert not asyncio.run(storms.passed(environment, task, storms.NOOP))
    wrong = '<tool_call>{"name": "email_search_emails", "arguments": {"no": 1}}</tool_call>'
    grade, _ = asyncio.run(play(environment, tasks[0], [wrong, "x"]))
    assert not grade.passed
    with pytest.raises(BadEnvironment, match="the package has no"):
        load("remote", **{**given, "server": "workplace"})


@pytest.mark.slow
def test_two_hundred_episodes_and_two_kills(python: str) -> None:
    environment = Remote(python, "nemo_gym", server="workplace_assistant")
    found = storms.storm(environment, list(environment.tasks("train")))
    assert (found.right, found.wrong) == (200, [])
    assert found.unscored.total() > 0
