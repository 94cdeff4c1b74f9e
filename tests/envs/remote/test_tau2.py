"""tau2-bench: the side's own logic, and the benchmark in the package's own venv.

The customer is a scripted model behind real HTTP: it does what it is asked to with its own tools,
and ends when it is told that that is all.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from munro.envs import EnvironmentFailure, load
from munro.envs.check import check, play
from munro.envs.loader import BadEnvironment
from munro.envs.remote import Remote
from munro.envs.remote_side import tau2
from tests.envs.remote import storms

COMMANDS = (
    "python3.11 -m venv V; V/bin/pip install inspect-ai==0.3.285 toml pyyaml; "
    "V/bin/pip install --no-deps inspect-evals==0.28.0"
)
TOTALS = {"airline": (30, 20), "retail": (74, 40), "telecom": (74, 40)}
LEFT_OUT = {"airline": (13, 6), "retail": (5, 2), "telecom": (0, 0)}
"""Train and test tasks that doing nothing solves."""


class Scripted(BaseHTTPRequestHandler):
    """A customer's model that does as it is told."""

    protocol_version = "HTTP/1.1"
    failures: list[int] = []  # noqa: RUF012 - one server, one list
    asked: list[Any] = []  # noqa: RUF012

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append((self.headers.get("Authorization"), body))
        status = self.failures.pop(0) if self.failures else 200
        data = json.dumps({"choices": [{"message": self._turn(body["messages"])}]}).encode()
        if status == 1:  # an answer without anything in it
            status, data = 200, b'{"choices": [{"message": {"content": " "}}]}'
        if status == 2:  # a line that is no HTTP
            self.close_connection = True
            self.wfile.write(b"what?\r\n")
            return
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _turn(self, heard: list[dict[str, Any]]) -> dict[str, Any]:
        last = heard[-1]
        asked = re.match(rf"{tau2.ASK} (\w+) with (.*)", last["content"] or "")
        if last["role"] == "user" and asked:
            function = {"name": asked[1], "arguments": asked[2]}
            calls = [{"id": f"u{len(heard)}", "type": "function", "function": function}]
            return {"role": "assistant", "content": None, "tool_calls": calls}
        if last["role"] == "tool":
            return {"role": "assistant", "content": f"I did: {last['content']}"}
        return {"role": "assistant", "content": "Thank you. ###STOP###"}

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    Scripted.failures, Scripted.asked = [], []
    with ThreadingHTTPServer(("127.0.0.1", 0), Scripted) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()


def customer(url: str, **more: Any) -> tau2.Customer:
    return tau2.Customer(**tau2.customer_args({"base_url": url, "model": "m", **more}))


HEARD = [{"role": "user", "content": "That is all."}]


def test_a_customer_is_asked_again_until_it_says_something(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tau2.time, "sleep", lambda seconds: None)
    monkeypatch.setenv("USER_KEY", "secret")
    Scripted.failures = [500, 2, 429, 1]
    said = customer(url, api_key_env="USER_KEY").turn(HEARD, [])
    assert said == {"role": "assistant", "content": "Thank you. ###STOP###"}
    key, body = Scripted.asked[-1]
    assert (key, body["messages"], body["temperature"]) == ("Bearer secret", HEARD, 0.0)
    assert "tools" not in body


@pytest.mark.parametrize("failures", [[400], [500, 500], [1, 1]])
def test_a_customer_that_says_nothing_leaves_the_attempt_unscored(
    url: str, failures: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tau2.time, "sleep", lambda seconds: None)
    Scripted.failures = list(failures)
    with pytest.raises(RuntimeError, match="gives no turn"):
        customer(url, retries=1).turn(HEARD, [])
    Scripted.failures = []


def test_which_tasks_are_solved_by_doing_nothing() -> None:
    def record(*names: str, **more: Any) -> dict[str, Any]:
        actions = [{"name": name, "arguments": {}} for name in names]
        return {"evaluation_criteria": {"actions": actions, **more}}

    assert tau2.is_idle(record())
    assert tau2.is_idle(record("get_user_details", "transfer_to_human_agents"))
    assert not tau2.is_idle(record("get_user_details", "cancel_reservation"))
    assert not tau2.is_idle(record("get_user_details", communicate_info=["4"]))
    assert not tau2.is_idle(record("get_x", reward_basis=["ENV_ASSERTION", "ACTION"]))
    assert not tau2.is_idle(record(env_assertions=[{"func_name": "assert_x"}]))


def test_what_is_wrong_with_its_arguments_is_one_line() -> None:
    here = {"base_url": "http://a", "model": "m"}
    for args, line in [
        ({"domain": "bank"}, "it is one of airline, retail, telecom"),
        ({"domain": "retail", "solo": True}, "retail has no tickets"),
        ({}, "says who plays the customer"),
        ({"user": {"base_url": "a", "model": "m"}}, "says who plays the customer"),
        ({"user": {**here, "api_key_env": "NO_SUCH_KEY"}}, "no such variable is set"),
        ({"user": {**here, "temprature": 1}}, "user.temprature = 1: it takes base_url"),
        ({"user": {**here, "retries": "4"}}, "user.retries = '4'"),
    ]:
        with pytest.raises(ValueError, match=line):
            tau2.Side(**args)  # type: ignore[arg-type]


def test_what_a_model_wrote_is_read_as_text() -> None:
    assert tau2.arguments_of("[1]") == ({}, "the arguments are no object")
    assert "not JSON" in tau2.arguments_of("{")[1]
    assert "not JSON" in tau2.arguments_of("[" * 100_000)[1]
    for said in ({}, {"choices": []}, {"choices": [{"message": None}]}, [], "x"):
        with pytest.raises(ValueError, match="no chat completion"):
            tau2.message_of(said)


def test_a_missing_package_is_one_line_with_the_command() -> None:
    mend = (
        r"pip install inspect-ai\S+ toml pyyaml && \S+ -m pip install --no-deps inspect-evals\S+$"
    )
    with pytest.raises(BadEnvironment, match=mend):
        load("remote", python=sys.executable, side="tau2", domain="telecom", solo=True)


@pytest.fixture(scope="module")
def python() -> str:
    return storms.venv("MUNRO_VENV_TAU2", COMMANDS)


def served(python: str, url: str, domain: str, **more: Any) -> Remote:
    user = {} if more.get("solo") else {"user": {"base_url": url, "model": "scripted"}}
    return Remote(python, "tau2", domain=domain, **user, **more)


@pytest.mark.slow
@pytest.mark.parametrize("domain", ["telecom", "retail", "airline"])
def test_gold_passes_every_task_and_noop_those_that_are_left_out(
    python: str, url: str, domain: str
) -> None:
    all_, kept = served(python, url, domain, idle=True), served(python, url, domain)
    for split, total, left_out in zip(
        ("train", "test"), TOTALS[domain], LEFT_OUT[domain], strict=True
    ):
        tasks = list(all_.tasks(split))
        ids = {task.id for task in kept.tasks(split)}
        assert (len(tasks), len(tasks) - len(ids)) == (total, left_out)
        for task in tasks:
            said = asyncio.run(storms.gold(all_, task))
            assert asyncio.run(storms.passed(all_, task, said)), task.id
            idle = asyncio.run(storms.passed(all_, task, storms.NOOP))
            assert idle == (task.id not in ids), task.id


@pytest.mark.slow
def test_a_domain_passes_the_check_with_a_customer_and_without(python: str, url: str) -> None:
    given = {"python": python, "side": "tau2", "domain": "telecom"}
    with_one = check("remote", **given, user={"base_url": url, "model": "scripted"})
    assert (with_one.problems, with_one.num_train, with_one.num_test) == ((), 74, 40)
    alone = check("remote", **given, solo=True)
    assert (alone.problems, alone.num_train, alone.num_test) == ((), 74, 40)
    assert with_one.task is not None
    assert alone.task is not None
    assert (len(with_one.task.tools), len(alone.task.tools)) == (13, 43)
    # the customer's own tools are not the policy's to call
    environment = served(python, url, "telecom")
    (task, *_) = environment.tasks("train")
    theirs = '<tool_call>{"name": "toggle_data", "arguments": {}}</tool_call>'
    grade, _ = asyncio.run(play(environment, task, [theirs, "done"]))
    assert not grade.passed


@pytest.mark.slow
def test_an_address_that_does_not_answer_leaves_the_attempt_unscored(python: str) -> None:
    user = {"base_url": "http://127.0.0.1:9/v1", "model": "m", "retries": 0}
    environment = Remote(python, "tau2", domain="telecom", user=user)
    (task, *_) = environment.tasks("train")
    with pytest.raises(EnvironmentFailure, match="gives no turn"):
        asyncio.run(play(environment, task, storms.NOOP))


@pytest.mark.slow
def test_two_hundred_episodes_and_two_kills(python: str, url: str) -> None:
    environment = served(python, url, "telecom")
    found = storms.storm(environment, list(environment.tasks("train")))
    assert (found.right, found.wrong) == (200, [])
    assert found.unscored.total() > 0
