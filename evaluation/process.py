"""A harness as a process of ours: it ends with us, with its address, or by itself."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from munro.rewards.serving.server import KEEPER, end

POLL_S = 0.5


def run(
    command: Sequence[str],
    variables: Mapping[str, str],
    log: Path,
    *,
    is_alive: Callable[[], bool] = lambda: True,
    looks_every_s: float = 5.0,
) -> int | None:
    """Run a command to its end, with all it starts; nothing of it is left.

    Args:
        command: the words.
        variables: of its environment, whole.
        log: file for what it says.
        is_alive: looked at now and then; where it says no, the command is ended.
        looks_every_s: how often.

    Returns:
        The exit status; None where it was ended because `is_alive` said no.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-I", str(KEEPER), str(os.getpid()), *command],
            stdin=subprocess.PIPE,
            stdout=said,
            stderr=subprocess.STDOUT,
            env=dict(variables),
            start_new_session=True,
        )
    looked = time.monotonic()
    try:
        while True:
            with suppress(subprocess.TimeoutExpired):
                return process.wait(POLL_S)
            if time.monotonic() - looked > looks_every_s:
                looked = time.monotonic()
                if not is_alive():
                    return None
    finally:
        end(process)


@lru_cache
def version_of(python: str, distribution: str) -> str:
    """The version of a distribution that an interpreter has; empty where it has none.

    Raises:
        OSError: there is no such interpreter.
    """
    code = f"import importlib.metadata as m; print(m.version({distribution!r}))"
    done = subprocess.run(
        [python, "-I", "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else ""
