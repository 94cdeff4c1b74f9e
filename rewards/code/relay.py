"""A program and its trusted tests in two sandboxes, with nothing between them but calls.

    test side  -- "C" call -->  this process  -- call -->  program side
               <-- reply -----                <-- reply --
               -- "D" verdict and secret --> TestResult

This process looks at the first byte of what the tests write, and passes everything else on unread.
"""

from __future__ import annotations

import hmac
import json
import queue
import secrets
import threading
import time
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from munro.rewards.code.encoding import dumps, parse
from munro.rewards.code.tests_as_data import Check
from munro.rewards.errors import GraderError, SandboxError
from munro.rewards.sandbox.types import Limits, Outcome, Sandbox

MARGIN_S = 5.0
"""Wall seconds that the tests may outlive the program by."""
PATIENCE_S = 60.0
"""Wall seconds that a sandbox may take beyond its limit to end a program, on a busy machine."""
WAITING = 3.0
"""Wall time of a conversation over that of a run by itself: the program waits for its tests too."""


@cache
def script(side: str) -> str:
    """The source of one side, whole in itself: "program" or "test"."""
    here = Path(__file__).parent
    modules = {
        f"munro.rewards.code.{name}": (here / f"{name}.py").read_text()
        for name in ("encoding", f"{side}_side")
    }
    return (
        "import sys, types\n"
        f"for name, source in {modules!r}.items():\n"
        "    module = sys.modules[name] = types.ModuleType(name)\n"
        "    exec(compile(source, name, 'exec'), module.__dict__)\n"
        "module.main()\n"
    )


def not_loaded(line: bytes) -> str:
    """Why the program could not be loaded, by the first line of its side; empty if it was."""
    match _parsed(line):
        case {"tuple": ["loaded"]}:
            return ""
        case {"tuple": ["raised", str(name), str(), str(message)]}:
            return f"loading the program raised {one_line(f'{name}: {message}')}"
    return "the program wrote where only its harness should"


def _parsed(line: bytes) -> Any:
    try:
        return parse(line)
    except ValueError:
        return None


def one_line(text: str, most: int = 160) -> str:
    """The start of a text, for a reason."""
    return " ".join(text[: 4 * most].split())[:most]


class Relay:
    """One program, one set of tests, one verdict. Used once."""

    def __init__(self, box: Sandbox, program: str, check: Check, limits: Limits) -> None:
        self._box, self._program, self._check = box, program, check
        self._limits = replace(limits, wall_s=WAITING * limits.wall_s)
        self._secret = secrets.token_hex(16)
        self._deadline = time.monotonic() + self._limits.wall_s + MARGIN_S
        self._calls: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._replies: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._is_loaded = self._is_over = False
        self._not_loaded = ""
        self._verdict: dict[str, Any] | None = None
        self._end: Outcome | BaseException | None = None
        """How the program's sandbox ended, if it did before the tests."""

    def run(self) -> tuple[bool, str]:
        """Whether all tests passed, and why not.

        Raises:
            SandboxError: one of the sandboxes failed.
            GraderError: the tests are broken, whatever the program does.
        """
        program = threading.Thread(target=self._run_program, daemon=True, name="program side")
        program.start()
        limits = replace(self._limits, wall_s=self._limits.wall_s + MARGIN_S)
        try:
            tests = self._box.converse_python(script("test"), self._answer_tests, limits=limits)
        finally:
            self._calls.put(None)
            program.join(PATIENCE_S + max(0.0, self._deadline - time.monotonic()))
        if isinstance(self._end, BaseException):
            raise self._end
        if self._end is None:
            raise SandboxError("the sandbox of a program did not end when it should have")
        return self._judge(tests, self._end)

    def _judge(self, tests: Outcome, program: Outcome) -> tuple[bool, str]:
        verdict = self._verdict
        if self._not_loaded:
            return False, self._not_loaded
        if verdict is not None:
            if verdict["is_broken"]:
                raise GraderError(f"the tests themselves fail: {verdict['reason']}")
            return verdict["passed"] is True, verdict["reason"]
        if program.limit is not None:
            return False, f"the program hit its limit: {program.limit}"
        if tests.limit is not None:
            return False, f"the tests hit their limit on what the program returned: {tests.limit}"
        return False, f"the program ended before its tests (status {program.status})"

    def _run_program(self) -> None:
        try:
            self._end = self._box.converse_python(
                script("program"), self._answer_program, limits=self._limits
            )
        except BaseException as error:  # noqa: BLE001 - carried over to the caller, not handled
            self._end = error
        self._replies.put(None)

    def _answer_program(self, line: bytes) -> bytes | None:
        if not line:
            return dumps(self._program).encode() + b"\n"
        if self._is_over:
            return None  # it still writes, and nobody listens
        if self._is_loaded:
            self._replies.put(line)
        elif reason := not_loaded(line):
            self._not_loaded = reason
            return None
        self._is_loaded = True
        return self._next(self._calls)

    def _answer_tests(self, line: bytes) -> bytes | None:
        if not line:
            check = self._check
            opening = (check.source, check.support, check.names, self._secret)
            return dumps(opening).encode() + b"\n"
        if line.startswith(b"C"):
            self._calls.put(line[1:])
            return self._next(self._replies)
        if line.startswith(b"D"):
            verdict = json.loads(line[1:])
            if hmac.compare_digest(str(verdict["secret"]), self._secret):
                self._verdict = verdict
        return None

    def _next(self, lines: queue.SimpleQueue[bytes | None]) -> bytes | None:
        """The next line for one side; None when there is none by the deadline, or ever."""
        line = None
        if not self._is_over:
            with suppress(queue.Empty):
                line = lines.get(timeout=max(0.0, self._deadline - time.monotonic()))
        self._is_over |= line is None
        return line
