"""Our environments and worlds as servers, over every way that there is to them."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from click.testing import CliRunner
from mcp import Client
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS

from munro.envs.mcp.errors import BadServer
from munro.envs.mcp.serving import shown_of
from munro.machine.cli.main import munro
from tests.envs.mcp.playing import answers, env_of, turn

ROOT = Path(__file__).parents[3]
MUNRO = [sys.executable, "-c", "from munro.machine.cli.main import main; main()"]
SHOP = """
from munro.envs import Task, ToolUse, tool

class Till(ToolUse):
    "A till."
    def tasks(self, split):
        return [Task(id="a", prompt="Sell a pear."), Task(id="b", prompt="Sell two.")]

    def setup(self, task):
        return {"task": task.id, "sold": 0}

    @tool
    def sell(self, number: int, state: dict) -> str:
        "Sell some."
        state["sold"] += number
        return f"{state['task']}: {state['sold']}"

    @tool(finishes=True)
    def close(self) -> str:
        "Close the till."
        return "closed"

    def grade(self, task, reply, state):
        return state["sold"] == 1
"""


@pytest.fixture(scope="module")
def till(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("till") / "till.py"
    file.write_text(SHOP)
    return f"{file}:Till"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    command = [*MUNRO, "world", "serve", "stall", "--http", "0"]
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as serving:
        assert serving.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:\d+/mcp", serving.stdout.readline())
        assert found
        yield found[0]
        serving.send_signal(signal.SIGINT)
        assert serving.wait(10) == 0


def test_a_world_is_the_same_over_http_and_in_memory(tmp_path, address):
    """`stdio` is in test_foreign.py: starting the command takes seconds."""
    seen = []
    for server in ({"url": address}, {"object": "tests.envs.mcp.objects:stall"}):
        env = env_of(tmp_path, servers={"stall": server})
        task = env.tasks("train")[0]
        seen.append([dict(tool["function"]) for tool in task.tools])
        first, other = _sold(env), _sold(env)
        assert first == other == ["done", "Error: none left"]
        seen[-1].append(first)
    assert seen[0] == seen[1]


def _sold(env: Any) -> list[str]:
    """There is one of it: a second one cannot be sold in the same session."""
    sell = ("sell", {"name": "nigu"})
    ((one, two),) = answers(env, turn(sell, sell))
    return [one.content, two.content]


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_clients_that_would_speak_without_a_handshake_begin_with_one(address, mode):
    async def talk() -> tuple[str, str, Any]:
        async with Client(address, mode=mode) as client:
            sold = await client.call_tool("sell", {"name": "nigu"})
            again = await client.call_tool("sell", {"name": "nigu"})
            return client.protocol_version, sold.content[0].text, again.is_error

    version, sold, is_error = asyncio.run(talk())
    assert version in HANDSHAKE_PROTOCOL_VERSIONS
    assert (sold, is_error) == ("done", True)


def test_an_environments_task_has_a_state_in_each_session(tmp_path, till):
    shown = shown_of(till, task="b", args={})
    assert shown.instructions == "Sell two."

    async def play() -> list[Any]:
        one, other = await shown.open(), await shown.open()
        told = [await one.call("sell", {"number": 2}), await one.call("sell", {"number": 1})]
        told += [await other.call("sell", {"number": 5}), await one.call("sell", {"number": "x"})]
        told += [await one.call("close", {}), await one.call("sell", {"number": 1})]
        await one.close()
        await other.close()
        return told

    first, second, other, wrong, closed, after = asyncio.run(play())
    assert (first, second, other) == (("b: 2", False), ("b: 3", False), ("b: 5", False))
    assert wrong[1]
    assert "valid integer" in wrong[0]
    assert closed == ("closed", False)
    assert after == ("Error: this episode is over: begin another session", True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["shop"], "give one of --stdio and --http"),
        (["shop", "--stdio", "--http", "0"], "give one of --stdio and --http"),
        (["shopp", "--stdio"], "There is no environment 'shopp'"),
        (["shop,arithmetic", "--stdio"], "must be domains of worlds"),
        (["arithmetic", "--stdio"], "arithmetic has no tools to show"),
        (["shop", "--stdio", "--task", "a"], "takes neither a task nor arguments"),
        (["world", "--stdio", "--levle", "1"], "world takes no argument 'levle'"),
        (["shop", "--http", "0", "--host", "203.0.113.9"], "nothing can listen at 203.0.113.9:0"),
    ],
)
def test_what_cannot_be_served_is_one_sentence(words, said):
    done = CliRunner().invoke(munro, ["world", "serve", *words])
    assert done.exit_code != 0
    assert said in f"{done.output}{done.exception}"


def test_only_loopback_is_listened_at_unless_another_host_is_named(address):
    assert address.startswith("http://127.0.0.1:")
    # nor does a page in a browser get in by a name of its own for this machine
    asked = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    answer = httpx2.post(address, json=asked, headers={"Host": "evil.example"})
    assert answer.status_code == 421


def test_a_task_that_is_not_there_is_one_sentence(till):
    with pytest.raises(BadServer, match="has no task 'c'"):
        shown_of(till, task="c", args={})
