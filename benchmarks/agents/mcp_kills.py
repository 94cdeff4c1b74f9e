"""Episodes over MCP whose servers are killed all the time: none hangs, none is scored wrongly.

    python benchmarks/agents/mcp_kills.py [--episodes 1000] [--at-once 64] [--every 5] [--url]

Each episode makes five calls of a server that counts, and answers with the sum that the server
told: every episode that ends must be right, for a wrong one was scored on a broken server. A failed
attempt is played again, as a worker does. Every few seconds one living server is killed (with
--url, the one that serves all; it is started again at the same port). Ends with the counts, and
with exit status 1 where one is not as it must be.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from munro.envs.check import played
from munro.envs.mcp import McpTools
from munro.envs.types import Message, Task
from munro.rewards.errors import EpisodeError

CALLS = 5
PATIENCE_S = 60.0
"""After which an attempt counts as hung; no limit of the server's own is as long."""
ATTEMPTS = 50
PAUSE_S = 0.5
"""After an attempt that failed: a server takes a while to be there again."""
SERVER = Path(__file__).with_name("mcp_counter.py")


def policy(seen: Sequence[Message]) -> str:
    """Adds 1, 2, 3, ...; then answers with what the last call said."""
    if len(seen) < CALLS:
        call = {"name": "add", "arguments": {"number": len(seen) + 1}}
        return f"<tool_call>{json.dumps(call)}</tool_call>"
    return f"Answer: {seen[-1].content}"


async def episode(env: McpTools, task: Task, counts: Counter[str]) -> None:
    """One episode, again and again until it has a grade."""
    for _ in range(ATTEMPTS):
        try:
            done = await asyncio.wait_for(played(env, task, policy), PATIENCE_S)
        except EpisodeError:
            counts["attempts unscored"] += 1
            await asyncio.sleep(PAUSE_S)
            continue
        except TimeoutError:
            counts["hung"] += 1
            return
        counts["right" if done.grade.passed else "scored wrongly"] += 1
        return
    counts["given up"] += 1


async def killer(every_s: float, victims: Any, counts: Counter[str]) -> None:
    """Kill one server now and then."""
    rng = random.Random(0)
    while True:
        await asyncio.sleep(every_s)
        if found := victims():
            with contextlib.suppress(ProcessLookupError):
                os.kill(rng.choice(found), signal.SIGKILL)
                counts["servers killed"] += 1


def ours() -> list[int]:
    """Servers that this process has started, and their servers."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            line = child.cmdline()
            if str(SERVER) in line and "--talks" not in line:
                found.append(child.pid)
    return found


def everything() -> list[int]:
    """All processes on the machine that run the server."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        line = process.info["cmdline"] or []
        if str(SERVER) in line and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process.pid)
    return found


class Served:
    """The server by address, always there again."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-I", "-S", str(SERVER), str(self.port)])

    async def keep(self) -> None:
        """Start it again whenever it has died."""
        while True:
            if self.process.poll() is not None:
                self.process = self._start()
            await asyncio.sleep(0.1)

    def wait(self) -> None:
        """Until it listens."""
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return
            time.sleep(0.1)


async def run(
    options: argparse.Namespace, env: McpTools, counts: Counter[str], served: Served | None
) -> None:
    """All episodes, so many at once."""
    tasks = env.tasks("train")
    room = asyncio.Semaphore(options.at_once)

    async def one(number: int) -> None:
        async with room:
            await episode(env, tasks[number % len(tasks)], counts)
            if sum(counts[key] for key in ("right", "scored wrongly", "hung")) % 100 == 0:
                sys.stderr.write(f"{dict(counts)}\n")

    victims = (lambda: [served.process.pid]) if served else ours
    beside = [asyncio.ensure_future(killer(options.every, victims, counts))]
    if served:
        beside.append(asyncio.ensure_future(served.keep()))
    await asyncio.gather(*map(one, range(options.episodes)))
    for each in beside:
        each.cancel()


def main() -> int:
    """Play; say what came of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--episodes", type=int, default=1000)
    parser.add_argument("--at-once", type=int, default=64)
    parser.add_argument("--every", type=float, default=5.0, metavar="SECONDS")
    parser.add_argument("--url", action="store_true")
    options = parser.parse_args()
    counts: Counter[str] = Counter({"right": 0, "scored wrongly": 0, "hung": 0, "given up": 0})
    served = Served() if options.url else None
    server: dict[str, Any] = {"command": [sys.executable, "-I", "-S", str(SERVER)]}
    if served:
        served.wait()
        server = {"url": f"http://127.0.0.1:{served.port}/mcp"}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "rows.jsonl")
        total = sum(range(1, CALLS + 1))
        file.write_text(json.dumps({"prompt": "Count.", "answer": str(total)}) + "\n")
        env = McpTools(str(file), {"counter": {**server, "call_s": 30.0}}, test_share=0)
        asyncio.run(run(options, env, counts, served))
    if served:
        served.process.kill()
        served.process.wait()
    time.sleep(1.0)
    counts["processes left"] = len(everything())
    told = dict(counts)
    sys.stdout.write(json.dumps({"episodes": options.episodes, **told}) + "\n")
    wrong = ("scored wrongly", "hung", "given up", "processes left")
    is_right = told["right"] == options.episodes and not any(told[key] for key in wrong)
    return 0 if is_right else 1


if __name__ == "__main__":
    sys.exit(main())
