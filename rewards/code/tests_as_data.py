"""Tests of a program as data: what goes in, what must come out, and what that may cost.

    Case    stdin in, stdout out, any language          a contest's problem
    Call    arguments in, a returned value out, Python  a function to write
    Check   Python source that calls the program        asserts, `check`, `test_*`, unittest

What a data set holds as JSON becomes these by `from_data`.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from munro.rewards.code.compare import Comparison
from munro.rewards.code.encoding import NotPlain, dumps
from munro.rewards.sandbox.types import Files

COMPARISONS = ("exact", "whitespace", "float")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One run of a program: what it reads, and what it should write.

    Example:
        Case(stdin="17 25\\n", stdout="42\\n")
    """

    stdin: str | bytes = ""
    stdout: str | bytes = ""
    """Expected; never enters the sandbox of the program."""
    compare: Comparison = "whitespace"
    tolerance: float = 1e-6
    """Of "float", absolute and relative."""
    checker: str = ""
    """Python source that judges in place of a comparison. Run as `checker INPUT OUTPUT ANSWER`, the
    names of three files; it ends with status 0 to accept and 1 or 2 to reject, 3 where the test
    itself is at fault."""
    files: Files = field(default_factory=dict)
    """Other files that the program may read."""

    def __post_init__(self) -> None:
        if self.compare not in COMPARISONS:
            known = " or ".join(map(repr, COMPARISONS))
            raise ValueError(f"compare = {self.compare!r}: write {known}")
        _check_tolerance(self.tolerance)
        for name, text in (("stdin", self.stdin), ("stdout", self.stdout)):
            if isinstance(text, str) and not is_unicode(text):
                raise ValueError(f"{name} holds half a surrogate pair, which no file can")
        if self.checker:
            _parse(self.checker, "the checker")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of a function, with plain data.

    Example:
        Call(function="add", args=(17, 25), expected=42)
    """

    function: str
    """A name at the top of the program; "Solution.add" is a method of an instance made without
    arguments."""
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    expected: Any = None
    """Never enters the sandbox of the program."""
    tolerance: float = 0.0
    """For floats in the value, absolute and relative."""

    def __post_init__(self) -> None:
        if not all(part.isidentifier() for part in self.function.split(".")):
            raise ValueError(f"function = {self.function!r}: write a name, or Class.method")
        _check_tolerance(self.tolerance)
        try:
            written = dumps([list(self.args), dict(self.kwargs), self.expected])
            if '{"iterator": [' in written or '{"endless": [' in written:
                raise NotPlain("an iterator, which can be read but once")
        except (NotPlain, RecursionError) as error:
            raise ValueError(
                f"a call of {self.function!r} holds {error}: give plain data"
            ) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Python source that tests a Python program, which it meets only through calls.

    The source runs in a sandbox of its own. There the names in `entry_points` stand for functions
    of the program, and so do `candidate` (the first of them) and whatever is imported from
    `solution`. After the source has run, `check(candidate)` is called if it defined that, and
    every function `test_*` and every method of a `unittest.TestCase`.

    Example:
        Check(source="assert add(17, 25) == 42")
        Check(source="def check(candidate): assert candidate(1, 2) == 3", entry_points=("add",))
    """

    source: str
    entry_points: tuple[str, ...] = ()
    """Where empty: the names that the source uses and neither it nor Python defines."""
    support: str = ""
    """Source that the tests need and that the program must not provide, run before them."""

    def __post_init__(self) -> None:
        _parse(self.source, "the test source")
        _parse(self.support, "the support of the tests")
        if not self.names and "solution" not in self.source:
            raise ValueError("the test source calls no function of the program: give entry_points")

    @property
    def names(self) -> tuple[str, ...]:
        """The functions of the program that the tests call."""
        return self.entry_points or _undefined(f"{self.support}\n{self.source}")


Test = Case | Call | Check


def is_unicode(text: str) -> bool:
    """Can it be written as UTF-8? Half a surrogate pair cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def from_data(rows: Sequence[Mapping[str, Any]]) -> tuple[Test, ...]:
    """Tests from JSON: a row with `stdin` or `stdout` is a `Case`, one with `function` a `Call`,
    one with `source` a `Check`; the other keys are the fields of that record.

    Raises:
        ValueError: names the test by its number, and what is wrong with it.
    """
    if isinstance(rows, str | bytes | Mapping) or not isinstance(rows, Sequence):
        raise ValueError(f"tests = {rows!r:.60}: give a list of objects")
    if not rows:
        raise ValueError("tests = []: a program without a test cannot be graded")
    return tuple(_test(row, number) for number, row in enumerate(rows, 1))


def _test(row: Mapping[str, Any], number: int) -> Test:
    if not isinstance(row, Mapping):
        raise ValueError(f"test {number} is no object: {row!r:.60}")
    kinds: dict[str, type[Test]] = {
        "stdin": Case,
        "stdout": Case,
        "checker": Case,
        "function": Call,
        "source": Check,
    }
    kind: type[Test] | None = next((kinds[key] for key in kinds if key in row), None)
    if kind is None:
        raise ValueError(f"test {number} has none of {', '.join(kinds)}")
    known = {each.name for each in fields(kind)}
    if unknown := sorted(row.keys() - known):
        raise ValueError(
            f"test {number} ({kind.__name__}) has no field {unknown[0]!r}: "
            f"there are {', '.join(sorted(known))}"
        )
    values = {key: row[key] for key in row if row[key] is not None or key == "expected"}
    try:
        _refuse_wrong_types(values)
        if "entry_points" in values:
            values["entry_points"] = tuple(values["entry_points"])
        return kind(**values)
    except ValueError as error:
        raise ValueError(f"test {number}: {error}") from error


TYPES = {
    "stdin": (str, bytes),
    "stdout": (str, bytes),
    "checker": (str,),
    "source": (str,),
    "support": (str,),
    "function": (str,),
    "args": (list, tuple),
    "entry_points": (list, tuple),
    "kwargs": (dict,),
    "files": (dict,),
    "tolerance": (int, float),
}


def _refuse_wrong_types(values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        if key in TYPES and not isinstance(value, TYPES[key]):
            names = " or ".join(each.__name__ for each in TYPES[key])
            raise ValueError(f"{key} = {value!r:.60}: must be {names}")


def _check_tolerance(tolerance: float) -> None:
    if not 0 <= tolerance < float("inf"):
        raise ValueError(f"tolerance = {tolerance}: give a number of 0 or more")


def _parse(source: str, what: str) -> ast.Module:
    """The tree of source that a data set holds."""
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"{what} is no Python: {error}") from error


def _undefined(source: str) -> tuple[str, ...]:
    """Names that a source uses and never binds."""
    bound, used = set(dir(builtins)), dict[str, None]()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Name(id=name, ctx=ast.Load()):
                used[name] = None
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
                bound.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                bound.add(name)
            case ast.ClassDef(name=name) | ast.ExceptHandler(name=str(name)):
                bound.add(name)
            case ast.alias(name=name, asname=alias):
                bound.add(alias or name.partition(".")[0])
    return tuple(name for name in used if name not in bound)
