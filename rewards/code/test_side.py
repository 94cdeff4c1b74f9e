"""Runs inside a sandbox of its own: trusted tests, of a program that they meet only through calls.

    stdin    (source, support, names, secret) as one line, then the reply to each call
    stdout   "C" and a call (function, args, kwargs); in the end "D" and
             {"secret", "passed", "reason", "is_broken"}

The program is in another sandbox, and never sees the secret. Its replies are data: they are decoded
by `encoding`, and an exception becomes a built-in one with the same name.
"""

from __future__ import annotations

import builtins
import json
import os
import random
import sys
import types
from collections.abc import Sequence
from typing import Any, BinaryIO

from munro.rewards.code.encoding import NotPlain, dumps, loads

FROM_PROGRAM = "_munro_from_program"


class ProgramError(Exception):
    """The program raised an exception of its own, or answered what is no answer."""


class Conversation:
    """The way to the program: one call, one reply."""

    def __init__(self, replies: BinaryIO, calls: BinaryIO) -> None:
        self._replies, self._calls = replies, calls

    def call(self, function: str, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """What the program's function returned. Raises what it raised."""
        self.write("C", dumps((function, list(args), kwargs)))
        line = self._replies.readline()
        if not line.endswith(b"\n"):
            os._exit(1)  # the program is gone, and whoever started us knows why
        try:
            kind, *content = loads(line)
            if kind == "returned":
                value, changed = content
                for place, now in changed:
                    _change(args[place], now)
                return value
            name, known, message = content
        except (ValueError, TypeError, IndexError) as error:
            raise _marked(ProgramError(f"its answer cannot be read ({error})")) from None
        raise _marked(_exception(str(name), str(known), str(message)))

    def write(self, kind: str, line: str) -> None:
        """Send one line."""
        self._calls.write(kind.encode() + line.encode() + b"\n")
        self._calls.flush()


class _Solution(types.ModuleType):
    """The module `solution`, any name of which is a function of the program."""

    def __init__(self, conversation: Conversation) -> None:
        super().__init__("solution")
        self.__dict__["_conversation"] = conversation

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return proxy(self.__dict__["_conversation"], name)


def proxy(conversation: Conversation, name: str) -> Any:
    """A function that calls the program's one."""

    def candidate(*args: Any, **kwargs: Any) -> Any:
        return conversation.call(name, args, kwargs)

    candidate.__name__ = candidate.__qualname__ = name.rpartition(".")[2]
    return candidate


def main() -> None:
    """Run the tests to their end, and say how that went."""
    replies, calls = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    source, support, names, secret = loads(replies.readline())
    conversation = Conversation(replies, calls)
    sys.modules["solution"] = _Solution(conversation)
    random.seed(0)  # the same program gets the same verdict, also from tests that draw numbers
    space: dict[str, Any] = {"__name__": "tests"}
    verdict = {"secret": secret, "passed": False, "reason": "", "is_broken": False}
    try:
        exec(compile(support, "support.py", "exec"), space)
        proxies = {name.rpartition(".")[2]: proxy(conversation, name) for name in names}
        space |= {"candidate": next(iter(proxies.values()), None), **proxies}
        exec(compile(source, "tests.py", "exec"), space)
        _run_what_is_defined(space)
        verdict["passed"] = True
    except BaseException as error:  # noqa: BLE001 - told to the other side
        verdict["reason"], verdict["is_broken"] = _described(error), _is_broken(error)
    conversation.write("D", json.dumps(verdict))
    os._exit(0)


def _run_what_is_defined(space: dict[str, Any]) -> None:
    """`check(candidate)`, functions `test_*` and unittest's cases, in the order of definition."""
    for name, value in list(space.items()):
        if name == "check" and isinstance(value, types.FunctionType):
            value(space["candidate"])
        elif name.startswith("test_") and isinstance(value, types.FunctionType):
            value()
        elif isinstance(value, type) and value.__module__ == space["__name__"]:
            _run_cases(value)


def _run_cases(defined: type) -> None:
    """All tests of a class, if it is one of unittest's."""
    unittest: Any = sys.modules.get("unittest")  # tests that use it have imported it
    if unittest is None or not issubclass(defined, unittest.TestCase):
        return
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(defined).run(result)
    for test, trace in (*result.errors, *result.failures):
        raise AssertionError(f"{test.id()}: {trace.strip().splitlines()[-1]}")


def _change(old: Any, new: Any) -> None:
    """Give a mutable argument the content that the program left in it."""
    if isinstance(old, list) and isinstance(new, list):
        old[:] = new
    elif isinstance(old, dict | set) and type(new) is type(old):
        old.clear()
        old.update(new)


def _exception(name: str, known: str, message: str) -> BaseException:
    kind = getattr(builtins, known, None)
    if isinstance(kind, type) and issubclass(kind, BaseException) and kind is not BaseException:
        try:
            return kind(message)
        except TypeError:
            pass
    return ProgramError(f"{name}: {message}")


def _marked(error: BaseException) -> BaseException:
    setattr(error, FROM_PROGRAM, True)
    return error


def _is_broken(error: BaseException) -> bool:
    """Is it the tests that are wrong, whatever the program does?"""
    if hasattr(error, FROM_PROGRAM):
        return False
    return isinstance(error, NotPlain | ImportError | NameError | SyntaxError)


def _described(error: BaseException) -> str:
    """One line: what was raised, by whom, and at which line of the tests."""
    line = 0
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "tests.py":
            line = trace.tb_lineno
        trace = trace.tb_next
    who = "the program raised " if hasattr(error, FROM_PROGRAM) else ""
    text = " ".join(str(error).split())[:200]
    place = f" (line {line} of the tests)" if line else ""
    return f"{who}{type(error).__name__}{': ' if text else ''}{text}{place}"
