"""A Python script, read and never run: calls, and the values that stand in it.

Literals, names that are set once, arithmetic on numbers and texts put together are read; whatever
only a run would know comes back as `Unread`.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from munro.machine.errors import BadConfig
from munro.machine.importing.draft import Unread

LARGEST = 2_000_000
"""Bytes of a script that is read."""
OPERATORS: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
}
"""On numbers; powers are left out, for they have no bound."""


@dataclass(frozen=True, slots=True)
class Script:
    """A parsed script."""

    file: Path
    text: str
    tree: ast.Module
    sets: dict[str, list[tuple[int, ast.expr | None]]]
    """What a name is set to, by line; None where that is no plain assignment."""

    def calls(self, *names: str) -> list[ast.Call]:
        """Calls of something by one of these names, in the order of the file."""
        found = [node for node in ast.walk(self.tree) if isinstance(node, ast.Call)]
        return sorted((one for one in found if called(one) in names), key=lambda one: one.lineno)

    def shown(self, node: ast.AST) -> str:
        """An expression as it is written, on one line."""
        return " ".join((ast.get_source_segment(self.text, node) or "").split())

    def unread(self, node: ast.expr) -> Unread:
        """What stands for an expression that only a run could tell."""
        return Unread(self.shown(node), node.lineno)

    def set_before(self, name: str, line: int) -> ast.expr | None:
        """What a name was last set to before a line; None where that is not plain."""
        before = [node for at, node in self.sets.get(name, []) if at < line]
        return before[-1] if before else None

    def value(self, node: ast.expr, depth: int = 0) -> Any:
        """What an expression comes to, or `Unread`."""
        if depth > 50:
            return self.unread(node)
        try:
            return ast.literal_eval(node)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            found = self._composed(node, depth + 1)
            return self.unread(node) if isinstance(found, Unread) else found

    def _composed(self, node: ast.expr, depth: int) -> Any:
        unread = self.unread(node)
        if isinstance(node, ast.Name):
            ways = self.sets.get(node.id, [])
            only = ways[0][1] if len(ways) == 1 else None
            return unread if only is None else self.value(only, depth)
        if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
            sides = [self.value(side, depth) for side in (node.left, node.right)]
            if all(type(side) in (int, float) for side in sides):
                try:
                    return OPERATORS[type(node.op)](*sides)
                except ArithmeticError:
                    return unread
            return unread
        if isinstance(node, ast.JoinedStr):
            return self._joined(node, depth)
        if isinstance(node, ast.List | ast.Tuple):
            items = [self.value(item, depth) for item in node.elts]
            return unread if any(isinstance(one, Unread) for one in items) else items
        if isinstance(node, ast.Dict) and None not in node.keys:
            keys = [self.value(key, depth) for key in node.keys if key is not None]
            values = [self.value(value, depth) for value in node.values]
            if any(not isinstance(key, str) for key in keys):
                return unread
            return dict(zip(keys, values, strict=True))
        if isinstance(node, ast.Call) and called(node) == "dict" and not node.args:
            return {word.arg: self.value(word.value, depth) for word in node.keywords if word.arg}
        return unread

    def _joined(self, node: ast.JoinedStr, depth: int) -> Any:
        parts = []
        for part in node.values:
            plain = isinstance(part, ast.FormattedValue) and part.conversion == -1
            inner = part.value if plain and part.format_spec is None else part  # type: ignore[attr-defined]
            value = self.value(inner, depth)
            if isinstance(value, Unread):
                return value
            parts.append(str(value))
        return "".join(parts)


def read_script(file: Path) -> Script:
    """Parse a script.

    Raises:
        BadConfig: it cannot be read, is too long, or is no Python.
    """
    try:
        if file.stat().st_size > LARGEST:
            raise BadConfig(f"{file} has more than {LARGEST:,} bytes, which no script has")
        text = file.read_text(encoding="utf-8-sig")
        tree = ast.parse(text)
        # deep nesting overflows here, where it can be told, and not somewhere later
        sets = _sets(tree)
    except OSError as error:
        raise BadConfig(f"cannot read {file}: {error}") from error
    except UnicodeDecodeError as error:
        raise BadConfig(f"{file} is not UTF-8 (byte {error.start + 1})") from error
    except SyntaxError as error:
        raise BadConfig(f"{file}:{error.lineno or 1} is no Python: {error.msg}") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise BadConfig(f"{file} is no Python that can be read: {error}") from error
    return Script(file, text, tree, sets)


def called(call: ast.Call) -> str:
    """The last word of what a call calls."""
    what = call.func
    return what.attr if isinstance(what, ast.Attribute) else getattr(what, "id", "")


def argument(call: ast.Call, name: str, place: int) -> ast.expr | None:
    """An argument by its name or its place; None where it is not given."""
    for word in call.keywords:
        if word.arg == name:
            return word.value
    at = call.args[place] if place < len(call.args) else None
    return None if isinstance(at, ast.Starred) else at


def _sets(tree: ast.Module) -> dict[str, list[tuple[int, ast.expr | None]]]:
    found: dict[str, list[tuple[int, ast.expr | None]]] = {}
    for name, line, node in _bound(tree):
        found.setdefault(name, []).append((line, node))
    return {name: sorted(ways, key=lambda way: way[0]) for name, ways in found.items()}


def _bound(tree: ast.Module) -> Iterator[tuple[str, int, ast.expr | None]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    yield target.id, node.lineno, node.value
                else:
                    yield from _others(target)
        elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and isinstance(node.target, ast.Name):
            yield node.target.id, node.lineno, node.value
        elif isinstance(node, ast.AugAssign | ast.For | ast.comprehension):
            yield from _others(node.target)
        elif isinstance(node, ast.withitem) and node.optional_vars is not None:
            yield from _others(node.optional_vars)
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno, None


def _others(target: ast.expr) -> Iterator[tuple[str, int, None]]:
    for node in ast.walk(target):
        if isinstance(node, ast.Name):
            yield node.id, node.lineno, None
