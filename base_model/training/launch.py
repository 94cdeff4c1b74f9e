"""Start the ranks of a training on this machine, and see that none outlives another.

launch ──► rank 0, 1, ...  lines of JSON on one pipe: metrics of rank 0, an error of any
"""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Any

from munro.base_model.training.trainer import TrainingError

POLL_S = 0.5
LAST_WORDS_S = 5.0
"""What the other ranks get to end by themselves once one has."""


def launched() -> bool:
    """Whether this process is one of several ranks."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def launch(
    command: Sequence[str], ranks: int, *, on_line: Callable[[dict[str, Any]], None]
) -> None:
    """Run a command once for each rank, and wait for all of them.

    Args:
        command: finds RANK, WORLD_SIZE and the meeting place in its environment, and writes lines
            of JSON to standard output; {"error": ...} says in one sentence why it failed.
        ranks: how many.
        on_line: told every other line.

    Raises:
        TrainingError: a rank failed or died; the others were ended.
    """
    reading, writing = os.pipe()
    port = _free_port()
    children: list[subprocess.Popen[bytes]] = []
    try:
        for rank in range(ranks):
            environment = os.environ | _environment(rank, ranks, port)
            children.append(subprocess.Popen(command, env=environment, stdout=writing))
        os.close(writing)
        _follow(children, reading, on_line)
    finally:
        _end(children)
        os.close(reading)


def _follow(
    children: list[subprocess.Popen[bytes]], reading: int, on_line: Callable[[dict[str, Any]], None]
) -> None:
    """Hand on lines until every rank has ended well."""
    pending = b""
    while True:
        ended = [child.poll() for child in children]
        if select.select([reading], [], [], POLL_S)[0]:
            some = os.read(reading, 1 << 16)
            pending += some
            *lines, pending = pending.split(b"\n")
            for line in map(json.loads, lines):
                if "error" in line:
                    raise TrainingError(line["error"])
                on_line(line)
            if some:
                continue
            time.sleep(POLL_S / 10)  # every rank has closed the pipe, and is about to end
        for rank, code in enumerate(ended):
            if code:
                raise TrainingError(
                    f"rank {rank} of {len(children)} died "
                    + (f"of signal {-code}" if code < 0 else f"with exit status {code}")
                    + "; the same command goes on from the last checkpoint."
                )
        if all(code == 0 for code in ended):
            return


def _end(children: list[subprocess.Popen[bytes]]) -> None:
    for child in children:
        if child.poll() is None:
            child.terminate()
    for child in children:
        try:
            child.wait(LAST_WORDS_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _environment(rank: int, ranks: int, port: int) -> dict[str, str]:
    """What torch.distributed and accelerate read."""
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(ranks),
        "LOCAL_WORLD_SIZE": str(ranks),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
