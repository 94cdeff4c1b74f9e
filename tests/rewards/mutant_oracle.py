"""Run as a script: does a mutant behave as the original does? Says so of each, in plain Python.

    stdin    {"original", "check", "entry_point", "mutants"}
    stdout   [{"changes_output", "fails_check"}, ...]

The programs are our own, with one mistake each: nothing here is a sandbox.
"""

from __future__ import annotations

import copy
import json
import os
import random
import resource
import sys
from collections.abc import Callable
from typing import Any

CPU_S = 2
MEMORY_BYTES = 2 << 30


def main() -> None:
    """Judge all mutants, each in forks of this process."""
    job = json.load(sys.stdin)
    original = _function(job["original"], job["entry_point"])
    inputs: list[Any] = []

    def recorded(*args: Any) -> Any:
        inputs.append(copy.deepcopy(args))
        return original(*args)

    random.seed(0)
    _check(job, recorded)
    if not inputs:
        raise SystemExit("the check never called the original")
    outputs = [_outcome(original, args) for args in inputs]

    def same(source: str) -> bool:
        mutant = _function(source, job["entry_point"])
        return all(
            _outcome(mutant, args) == output for args, output in zip(inputs, outputs, strict=True)
        )

    def passes(source: str) -> bool:
        random.seed(0)
        _check(job, _function(source, job["entry_point"]))
        return True

    verdicts = [
        {
            "changes_output": not _survives(lambda: same(source)),  # noqa: B023 - called at once
            "fails_check": not _survives(lambda: passes(source)),  # noqa: B023 - called at once
        }
        for source in job["mutants"]
    ]
    sys.stdout.write(json.dumps(verdicts))


def _function(source: str, name: str) -> Callable[..., Any]:
    space: dict[str, Any] = {}
    exec(source, space)
    found: Callable[..., Any] = space[name]
    return found


def _check(job: dict[str, Any], candidate: Callable[..., Any]) -> None:
    """The problem's check, beside the helpers that its prompt defines."""
    space: dict[str, Any] = {}
    exec(job["original"], space)
    exec(job["check"], space)
    space["check"](candidate)


def _outcome(function: Callable[..., Any], args: Any) -> tuple[str, Any, Any]:
    """What a call returns or raises, and what it leaves in its arguments."""
    given = copy.deepcopy(args)
    try:
        value = function(*given)
    except Exception as error:  # noqa: BLE001 - any of them is a behaviour
        return "raised", type(error).__name__, given
    return type(value).__name__, repr(value), given


def _survives(work: Callable[[], bool]) -> bool:
    """Whether `work` returns True, in a fork with limits."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S + 1))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        os.dup2(os.open(os.devnull, os.O_RDWR), 2)
        try:
            os.write(write, b"yes" if work() else b"no")
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as said:
        answer = said.read()
    os.waitpid(child, 0)
    return answer == b"yes"


if __name__ == "__main__":
    main()
