"""Runs inside a sandbox, around the program under test: calls its functions for those who ask.

    stdin    the program as a line of JSON, then calls: (function, args, kwargs), a line each
    stdout   a line for the program (did it load?), then one for each call

The program shares this process and may do to it what it likes. All that it gains is to write other
lines, which say no more than what a function of it returned.
"""

from __future__ import annotations

import os
import sys
import types
from collections.abc import Sequence
from typing import Any, BinaryIO

from munro.rewards.code.encoding import NotPlain, dumps, loads

MOST_MESSAGE_CHARS = 500


def main() -> None:
    """Load the program, then answer calls until there are no more."""
    calls, replies = _take_over_streams()
    module = types.ModuleType("solution")
    sys.modules["solution"] = module
    _write(replies, _loaded(module, loads(calls.readline())))
    for line in calls:
        _write(replies, _called(module, *loads(line)))
    os._exit(0)  # whatever threads the program has left


def _take_over_streams() -> tuple[BinaryIO, BinaryIO]:
    """The two ends of the conversation; the program gets an empty stdin, and stderr for stdout."""
    calls, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing, end = os.pipe()
    os.close(end)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    return calls, replies


def _write(replies: BinaryIO, line: str) -> None:
    replies.write(line.encode() + b"\n")
    replies.flush()


def _loaded(module: types.ModuleType, source: str) -> str:
    try:
        exec(compile(source, "solution.py", "exec"), module.__dict__)
    except BaseException as error:  # noqa: BLE001 - told to the other side
        return _raised(error)
    return dumps(("loaded",))


def _called(
    module: types.ModuleType, function: str, args: Sequence[Any], kwargs: dict[str, Any]
) -> str:
    """What came of one call: the value, and the arguments where the program changed them."""
    try:
        before = [_changeable(value) for value in args]
        value = _find(module, function)(*args, **kwargs)
        changed = [
            (place, value_now)
            for place, (text, value_now) in enumerate(zip(before, args, strict=True))
            if text is not None and _changeable(value_now) not in (None, text)
        ]
        return dumps(("returned", value, changed))
    except NotPlain as error:
        return dumps(("raised", "NotPlain", "TypeError", f"{function} returned {error}"))
    except BaseException as error:  # noqa: BLE001 - told to the other side
        return _raised(error)


def _changeable(value: Any) -> str | None:
    """A text by which to see that a mutable argument was changed."""
    if not isinstance(value, list | dict | set):
        return None
    try:
        return dumps(value)
    except (NotPlain, RecursionError):
        return None


def _find(module: types.ModuleType, function: str) -> Any:
    """A function by its dotted name; a class on the way is made an instance of."""
    found: Any = module
    for part in function.split("."):
        if isinstance(found, type):
            found = found()
        if found is module and not hasattr(module, part):
            raise NameError(f"the program defines no {part!r}")
        found = getattr(found, part)
    return found


def _raised(error: BaseException) -> str:
    """An exception as the name of its class, that of the nearest built-in one, and its message."""
    kind = type(error)
    known = next(each for each in kind.__mro__ if each.__module__ == "builtins")
    try:
        message = str(error)[:MOST_MESSAGE_CHARS]
    except BaseException:  # noqa: BLE001 - the program's own `__str__`
        message = ""
    return dumps(("raised", kind.__name__, known.__name__, message))
