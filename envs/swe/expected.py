"""What a test expects, and what else it could be made to expect: the edits that make twins.

Literals and exceptions first, then what is compared with, negations, and a failure at the end.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from munro.envs.swe.places import Places

EXCEPTIONS = (
    "ValueError",
    "TypeError",
    "KeyError",
    "IndexError",
    "AttributeError",
    "RuntimeError",
    "OSError",
    "ZeroDivisionError",
)
"""What a test that expects an exception is told to expect instead: nothing that would stand out."""
NEGATED = {
    "assertTrue": "assertFalse",
    "assertFalse": "assertTrue",
    "assertEqual": "assertNotEqual",
    "assertEquals": "assertNotEqual",
    "assertNotEqual": "assertEqual",
    "assertIs": "assertIsNot",
    "assertIsNot": "assertIs",
    "assertIsNone": "assertIsNotNone",
    "assertIsNotNone": "assertIsNone",
    "assertIn": "assertNotIn",
    "assertNotIn": "assertIn",
    "assertIsInstance": "assertNotIsInstance",
    "assertNotIsInstance": "assertIsInstance",
    "assertAlmostEqual": "assertNotAlmostEqual",
    "assertNotAlmostEqual": "assertAlmostEqual",
    "assertRegex": "assertNotRegex",
    "assertNotRegex": "assertRegex",
    "assertGreater": "assertLessEqual",
    "assertLess": "assertGreaterEqual",
    "assertGreaterEqual": "assertLess",
    "assertLessEqual": "assertGreater",
    "assertListEqual": "assertNotEqual",
    "assertDictEqual": "assertNotEqual",
    "assertTupleEqual": "assertNotEqual",
    "assertSetEqual": "assertNotEqual",
}
RAISES = ("raises", "assertRaises", "assertRaisesRegex")
FAR = 10**6
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True, order=True)
class Edit:
    """Bytes [start, end) of a source become `text`."""

    start: int
    end: int
    text: bytes


def edits_of(function: Function, raw: bytes) -> Iterator[Edit]:
    """Every edit of a test in a source, the likeliest to be unnoticed first."""
    places = Places(raw)
    nodes = sorted(
        (node for node in ast.walk(function) if hasattr(node, "lineno")),
        key=lambda node: (node.lineno, node.col_offset),  # type: ignore[attr-defined]
        reverse=True,  # the last thing that a test asks is asked of all that went before
    )
    for node in nodes:
        for expected, text in _expected(node):
            if text is not None:
                yield Edit(places.start(expected), places.end(expected), text.encode())
    for node in nodes:
        if (side := _compared(node)) is not None:
            start, end = places.start(side), places.end(side)
            yield Edit(start, end, b"(" + raw[start:end] + b", 0)")
    for node in nodes:
        if isinstance(node, ast.Assert):
            start, end = places.start(node.test), places.end(node.test)
            yield Edit(start, end, b"not (" + raw[start:end] + b")")
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            end = places.end(node.func)
            if instead := NEGATED.get(node.func.attr):
                yield Edit(end - len(node.func.attr.encode()), end, instead.encode())
    last = function.body[-1]
    if last.lineno != function.lineno:  # else the body is on the line of its head
        indent = b" " * last.col_offset
        if raw[places.start(last) - last.col_offset : places.start(last)].strip() == b"":
            indent = raw[places.start(last) - last.col_offset : places.start(last)]
        end = places.end(last)
        yield Edit(end, end, b"\n" + indent + b"raise AssertionError")


def _expected(node: ast.AST) -> Iterator[tuple[ast.expr, str | None]]:
    """What a statement of a test expects, where it is written out, and what else it could be."""
    if isinstance(node, ast.Assert) and isinstance(node.test, ast.Compare):
        test = node.test
        if len(test.ops) != 1:
            return
        operator, left, right = test.ops[0], test.left, test.comparators[0]
        if isinstance(operator, ast.Eq | ast.Is):
            yield from ((side, _other(side)) for side in (right, left) if _is_literal(side))
        elif isinstance(operator, ast.In) and _is_literal(left):
            yield left, _other(left)
        elif isinstance(operator, ast.Gt | ast.GtE | ast.Lt | ast.LtE):
            is_floor = isinstance(operator, ast.Gt | ast.GtE)
            yield right, _far(right, FAR if is_floor else -FAR)
            yield left, _far(left, -FAR if is_floor else FAR)
    elif isinstance(node, ast.Call):
        name = _name(node.func) or ""
        if name in RAISES and node.args:
            yield from ((node.args[0], other) for other in _exceptions(node.args[0]))
        elif name.startswith("assert") and name.endswith(("Equal", "Equals")):
            sides = [side for side in reversed(node.args[:2]) if _is_literal(side)]
            yield from ((side, _other(side)) for side in sides)
        elif name == "assertIn" and node.args and _is_literal(node.args[0]):
            yield node.args[0], _other(node.args[0])


def _compared(node: ast.AST) -> ast.expr | None:
    """What a statement of a test asks something to be equal to."""
    if isinstance(node, ast.Assert) and isinstance(node.test, ast.Compare):
        is_equal = len(node.test.ops) == 1 and isinstance(node.test.ops[0], ast.Eq)
        return node.test.comparators[0] if is_equal else None
    if isinstance(node, ast.Call) and len(node.args) >= 2:
        is_equal = (_name(node.func) or "") in ("assertEqual", "assertEquals")
        return node.args[1] if is_equal and not isinstance(node.args[1], ast.Starred) else None
    return None


def _far(node: ast.expr, by: int) -> str | None:
    """A bound that is out of reach."""
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None
    return repr(value + by) if type(value) in (int, float) else None


def _name(function: ast.expr) -> str | None:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else None


def _is_literal(node: ast.expr) -> bool:
    try:
        ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return isinstance(node, ast.List | ast.Tuple | ast.Dict | ast.Set)
    return True


def _other(node: ast.expr) -> str | None:
    """Another value of the same kind, as source; None where none is known."""
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None
    other = _changed(value)
    return None if other is None else repr(other[0])


def _exceptions(node: ast.expr) -> list[str]:
    """Two others, as usual in tests as the one that is expected."""
    names = [_name(each) for each in (node.elts if isinstance(node, ast.Tuple) else [node])]
    known = sorted(name for name in names if name)
    if not known or len(known) < len(names):
        return []
    others = [name for name in EXCEPTIONS if name not in known]
    first = hashlib.sha256("|".join(known).encode()).digest()[0] % len(others)
    return [*others, *others][first : first + 2]


def _changed(value: object) -> tuple[object] | None:
    """Another value, in a tuple; it looks as much like an answer as the true one."""
    match value:
        case bool():
            return (not value,)
        case None:
            return (0,)
        case int() | float() | complex():
            return (value + 1,) if value + 1 != value else (-value,)
        case str():
            return (value[:-1] + ("y" if value[-1] == "x" else "x"),) if value else ("x",)
        case bytes():
            return (value[:-1] + (b"y" if value[-1:] == b"x" else b"x"),) if value else (b"x",)
        case list() | tuple():
            *head, last = value or [None]
            changed = _changed(last)
            return None if changed is None else (type(value)([*head, changed[0]]),)
        case dict() if value:
            *_, key = value
            changed = _changed(value[key])
            return None if changed is None else ({**value, key: changed[0]},)
        case set() | dict():
            return ({*value, "x"},) if isinstance(value, set) else ({"x": 0},)
    return None
