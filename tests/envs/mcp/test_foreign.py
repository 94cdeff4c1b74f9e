"""Servers that others wrote, and ours by its command; slow.

They stand in a folder of their own, which MUNRO_MCP_SERVERS names (docs/mcp.md says how it is
made); what is not there is skipped by name.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from munro.rewards.errors import EnvironmentFailure
from tests.envs.mcp.playing import answers, env_of, rows_in, turn

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[3]
NPM = "node_modules/@modelcontextprotocol"
MUNRO = (sys.executable, "-c", "from munro.machine.cli.main import main; main()")
STALL = ("world", "serve", "stall", "--stdio")
PRICED, PRICE = "nigu", "8"
"""In the stall as `munro world serve stall` draws it."""


def place(*parts: str) -> str:
    """A file of the folder of servers."""
    folder = os.environ.get("MUNRO_MCP_SERVERS")
    if not folder:
        pytest.skip("MUNRO_MCP_SERVERS names no folder of servers")
    file = Path(folder, *parts)
    if not file.exists():
        pytest.skip(f"{file} is not there")
    return str(file)


def names(env: Any) -> set[str]:
    return {tool["function"]["name"] for tool in env.tasks("train")[0].tools}


def test_mcp_server_time(tmp_path):
    env = env_of(tmp_path, servers={"time": {"command": [place("bin", "mcp-server-time")]}})
    assert names(env) == {"get_current_time", "convert_time"}
    given = {"source_timezone": "America/Lima", "time": "12:00", "target_timezone": "Asia/Tokyo"}
    ((right, wrong),) = answers(
        env, turn(("convert_time", given), ("get_current_time", {"timezone": "Nowhere"}))
    )
    assert "T02:00:00+09:00" in right.content
    assert not right.error
    assert "Nowhere" in wrong.error


def test_mcp_server_git(tmp_path):
    server = {"command": [place("bin", "mcp-server-git")], "env": {"PATH": os.defpath}}
    repository = tmp_path / "repository"
    subprocess.run(["git", "init", "-q", repository], check=True)
    (repository / "new.txt").write_text("new")
    env = env_of(tmp_path, servers={"git": server})
    assert {"git_status", "git_add", "git_diff_staged"} <= names(env)
    where = {"repo_path": str(repository)}
    ((before, add, after),) = answers(
        env,
        turn(("git_status", where), ("git_add", {**where, "files": ["new.txt"]}),
             ("git_diff_staged", where)),
    )  # fmt: skip
    assert "new.txt" in before.content
    assert not add.error
    assert "+new" in after.content


def everything(env: Any) -> None:
    """What `server-everything` shows, over whatever transport."""
    assert len(names(env)) > 10
    ((echo, total, image, odd, variables, link),) = answers(
        env,
        turn(("echo", {"message": "hi"}), ("get-sum", {"a": 2, "b": 3}), ("get-tiny-image", {}),
             ("get-sum", {"a": "two"}), ("get-env", {}), ("get-resource-links", {"count": 2})),
    )  # fmt: skip
    assert echo.content == "Echo: hi"
    assert "5" in total.content
    assert "[image image/png, " in image.content
    assert odd.error
    assert "MUNRO_SECRET" not in variables.content
    assert link.content.count("[resource ") == 2


def test_server_everything_over_stdio(tmp_path, monkeypatch):
    monkeypatch.setenv("MUNRO_SECRET", "hunter2")
    file = place(NPM, "server-everything", "dist", "index.js")
    env = env_of(tmp_path, servers={"all": {"command": ["node", file]}})
    everything(env)
    ((variables,),) = answers(env, turn(("get-env", {})))
    assert set(json.loads(variables.content)) <= {"LC_CTYPE"}  # from Python, which starts it


def test_server_everything_in_the_sandbox(tmp_path):
    modules = str(Path(place(NPM, "server-everything", "dist", "index.js")).parents[3])
    server = {
        "command": ["node", f"/opt/node/{NPM}/server-everything/dist/index.js"],
        "sandbox": True,
        "mounts": {modules: "/opt/node/node_modules"},
        "memory_mb": 2048,
    }
    everything(env_of(tmp_path, servers={"all": server}))


@pytest.fixture
def address() -> Iterator[str]:
    file = place(NPM, "server-everything", "dist", "index.js")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    serving = subprocess.Popen(
        ["node", file, "streamableHttp"],
        env={"PORT": str(port), "PATH": os.defpath},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(100):
            with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        serving.kill()
        serving.wait()


def test_server_everything_over_http(tmp_path, address):
    everything(env_of(tmp_path, servers={"all": {"url": address}}))


def test_server_memory_keeps_a_graph_for_each_episode(tmp_path):
    file = place(NPM, "server-memory", "dist", "index.js")
    server = {
        "command": ["node", file],
        "env": {"MEMORY_FILE_PATH": str(tmp_path / "memory.json")},
    }
    env = env_of(tmp_path, servers={"memory": server})
    entity = {"name": "Bo", "entityType": "cat", "observations": ["grey"]}
    ((made, graph),) = answers(
        env, turn(("create_entities", {"entities": [entity]}), ("read_graph", {}))
    )
    assert not made.error
    assert json.loads(graph.content)["entities"] == [entity]


def test_two_foreign_servers_at_once(tmp_path):
    servers = {
        "time": {"command": [place("bin", "mcp-server-time")]},
        "all": {"command": ["node", place(NPM, "server-everything", "dist", "index.js")]},
    }
    env = env_of(tmp_path, servers=servers)
    ((one, two),) = answers(
        env, turn(("get_current_time", {"timezone": "UTC"}), ("echo", {"message": "hi"}))
    )
    assert "UTC" in one.content
    assert two.content == "Echo: hi"
    env = env_of(tmp_path, servers={"all": {**servers["all"], "call_s": 1.0}})
    with pytest.raises(EnvironmentFailure, match="nothing within"):
        answers(env, turn(("trigger-long-running-operation", {"duration": 30, "steps": 2})))


CLIENT = """
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
const [command, ...args] = JSON.parse(process.argv[1]);
const client = new Client({ name: "foreign", version: "1" });
await client.connect(new StdioClientTransport({ command, args, env: process.env }));
const { tools } = await client.listTools();
const sell = { name: "sell", arguments: { name: "nigu" } };
const answers = [await client.callTool(sell), await client.callTool(sell)];
console.log(JSON.stringify([tools.map((t) => t.name), answers, client.getInstructions()]));
await client.close();
"""


def test_a_foreign_client_talks_to_our_command():
    folder = Path(place("node_modules", "@modelcontextprotocol", "sdk")).parents[2]
    done = subprocess.run(
        ["node", "--input-type=module", "-e", CLIENT, json.dumps([*MUNRO, *STALL])],
        cwd=folder,
        env={"PATH": os.defpath, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    names, (sold, again), instructions = json.loads(done.stdout)
    assert names == ["price", "box", "sell"]
    assert sold["content"][0]["text"] == "done"
    assert again["isError"]
    assert instructions.startswith("You act for a user")


def test_env_check_passes_over_our_own_command(tmp_path):
    """As docs/mcp.md has it, but with the interpreter of the test."""
    call = {"name": "price", "arguments": {"name": PRICED}}
    rows_in(tmp_path, {"prompt": f"Price of {PRICED}?", "answer": PRICE, "calls": [call]})
    (tmp_path / "mine.toml").write_text(
        f"""
model.path = "none"
num_steps = 1
[[env]]
path = "mcp"
[env.args]
path = "rows.jsonl"
test_share = 0
[env.args.servers.stall]
command = {json.dumps([*MUNRO, *STALL])}
env = {{ PYTHONPATH = "{ROOT / "src"}" }}
"""
    )
    done = subprocess.run(
        [*MUNRO, "env", "check", "mine.toml"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "mcp is sound" in done.stdout
