"""Small wrong changes to Python source: one operator, bound, branch, guard or argument at a time.

The text is edited at the places that its syntax tree names, so that everything else of a file stays
as it was written. Used to make bugs, and to ask whether hidden tests notice a fix that is a little
wrong. Nothing here runs the source.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from munro.envs.swe.places import Places

MOST_BYTES = 1 << 20
SWAPPED: dict[type[ast.AST], str] = {
    ast.Add: "-",
    ast.Sub: "+",
    ast.Mult: "+",
    ast.Div: "*",
    ast.FloorDiv: "/",
    ast.Mod: "//",
    ast.LShift: ">>",
    ast.RShift: "<<",
    ast.BitAnd: "|",
    ast.BitOr: "&",
}
COMPARED: dict[type[ast.AST], tuple[str, str]] = {
    ast.Lt: ("<=", "boundary"),
    ast.LtE: ("<", "boundary"),
    ast.Gt: (">=", "boundary"),
    ast.GtE: (">", "boundary"),
    ast.Eq: ("!=", "operator"),
    ast.NotEq: ("==", "operator"),
    ast.Is: ("is not", "operator"),
    ast.IsNot: ("is", "operator"),
    ast.In: ("not in", "operator"),
    ast.NotIn: ("in", "operator"),
}
LEAVES = (ast.Return, ast.Raise, ast.Continue, ast.Break)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """A source with one place of it wrong.

    Example:
        Mutation(kind="boundary", line=17, function="Box.put", source=b"...", place=(310, 311),
                 text=b"<=")
    """

    kind: str
    """"operator", "boundary", "off by one", "negated", "dropped branch", "removed guard",
    "swapped arguments" or "lost result"."""
    line: int
    """Where, in the source before."""
    function: str
    """The innermost function around it, with its class; "" at the top."""
    source: bytes
    place: tuple[int, int]
    """Bytes of the source before that were replaced, from and up to."""
    text: bytes
    """What stands there now."""


@dataclass(frozen=True, slots=True)
class _Edit:
    kind: str
    node: ast.AST
    start: int
    end: int
    text: bytes


def parsed(source: bytes) -> ast.Module | None:
    """The syntax tree, or None where there is none to be had."""
    if len(source) > MOST_BYTES:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None


def mutations(source: bytes, lines: Sequence[int] | None = None) -> list[Mutation]:
    """Every small wrong change, by place; each parses and differs from the source in meaning.

    Args:
        source: UTF-8 Python.
        lines: only changes that begin on these, counted from 1; None for all.
    """
    tree = parsed(source)
    if tree is None or not _is_utf8(source):
        return []
    places = Places(source)
    wanted = None if lines is None else set(lines)
    whole, names = ast.dump(tree), functions_by_node(tree)
    found = []
    for node in ast.walk(tree):
        for edit in _edits(node, places, source):
            line = getattr(edit.node, "lineno", 0)
            if wanted is not None and line not in wanted:
                continue
            changed = source[: edit.start] + edit.text + source[edit.end :]
            after = parsed(changed)
            if after is not None and ast.dump(after) != whole:
                found.append(
                    Mutation(
                        kind=edit.kind,
                        line=line,
                        function=names.get(node, ""),
                        source=changed,
                        place=(edit.start, edit.end),
                        text=edit.text,
                    )
                )
    return sorted(found, key=lambda one: (one.line, one.kind, one.source))


def with_all(source: bytes, changes: Sequence[Mutation]) -> bytes:
    """A source with several of its mutations at once, none inside the place of another."""
    for one in sorted(changes, key=lambda one: one.place, reverse=True):
        source = source[: one.place[0]] + one.text + source[one.place[1] :]
    return source


def _is_utf8(source: bytes) -> bool:
    head = b"\n".join(source.splitlines()[:2])
    declared = re.search(rb"coding[:=]\s*([-\w.]+)", head)
    return declared is None or declared[1].lower().replace(b"_", b"-") in (b"utf-8", b"utf8")


def functions_by_node(tree: ast.Module) -> dict[ast.AST, str]:
    """The innermost function around each node, as "Class.method"."""
    names: dict[ast.AST, str] = {}

    def visit(node: ast.AST, path: tuple[str, ...], function: str) -> None:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            path, function = (*path, node.name), ".".join((*path, node.name))
        elif isinstance(node, ast.ClassDef):
            path = (*path, node.name)
        names[node] = function
        for child in ast.iter_child_nodes(node):
            visit(child, path, function)

    visit(tree, (), "")
    return names


def _edits(node: ast.AST, places: Places, source: bytes) -> Iterator[_Edit]:
    for kind, edits in _MAKERS.items():
        if isinstance(node, kind):
            yield from edits(node, places, source)


def _between(
    left: ast.AST, right: ast.AST, places: Places, source: bytes, pattern: bytes
) -> tuple[int, int] | None:
    """Where an operator stands between two nodes, whatever brackets and comments are there."""
    low, high = places.end(left), places.start(right)
    blanked = re.sub(rb"#[^\n]*", lambda match: b" " * len(match[0]), source[low:high])
    found = re.search(pattern, blanked)
    return (low + found.start(), low + found.end()) if found else None


def _binary(node: ast.BinOp, places: Places, source: bytes) -> Iterator[_Edit]:
    instead = SWAPPED.get(type(node.op))
    is_text = any(
        isinstance(side, ast.JoinedStr) or isinstance(getattr(side, "value", None), str)
        for side in (node.left, node.right)
    )
    if instead is None or is_text:
        return
    place = _between(node.left, node.right, places, source, rb"<<|>>|//|[-+*/%&|]")
    if place:
        yield _Edit("operator", node, *place, instead.encode())


def _compare(node: ast.Compare, places: Places, source: bytes) -> Iterator[_Edit]:
    left: ast.AST = node.left
    for operator, right in zip(node.ops, node.comparators, strict=True):
        instead, kind = COMPARED[type(operator)]
        pattern = rb"\bis\s+not\b|\bnot\s+in\b|\bis\b|\bin\b|<=|>=|==|!=|<|>"
        place = _between(left, right, places, source, pattern)
        if place:
            yield _Edit(kind, node, *place, instead.encode())
        left = right


def _boolean(node: ast.BoolOp, places: Places, source: bytes) -> Iterator[_Edit]:
    instead = b"or" if isinstance(node.op, ast.And) else b"and"
    place = _between(node.values[0], node.values[1], places, source, rb"\b(and|or)\b")
    if place and len(node.values) == 2:
        yield _Edit("operator", node, *place, instead)


def _number(node: ast.Constant, places: Places, source: bytes) -> Iterator[_Edit]:
    if type(node.value) is int and abs(node.value) < 1000:
        start, end = places.start(node), places.end(node)
        if source[start:end].isdigit():  # no number in an f-string, whose places are not its own
            yield _Edit("off by one", node, start, end, str(node.value + 1).encode())


def _condition(node: ast.If | ast.While, places: Places, source: bytes) -> Iterator[_Edit]:
    start, end = places.start(node.test), places.end(node.test)
    yield _Edit("negated", node, start, end, b"not (" + source[start:end] + b")")
    if not isinstance(node, ast.If):
        return
    leaves = len(node.body) == 1 and isinstance(node.body[0], LEAVES) and not node.orelse
    yield _Edit("removed guard" if leaves else "dropped branch", node, start, end, b"False")


def _call(node: ast.Call, places: Places, source: bytes) -> Iterator[_Edit]:
    for left, right in zip(node.args, node.args[1:], strict=False):
        if isinstance(left, ast.Starred | ast.GeneratorExp) or isinstance(right, ast.Starred):
            continue
        a, b, c, d = places.start(left), places.end(left), places.start(right), places.end(right)
        first, second = source[a:b], source[c:d]
        if first != second:
            yield _Edit("swapped arguments", node, a, d, second + source[b:c] + first)
            return


def _return(node: ast.Return, places: Places, _source: bytes) -> Iterator[_Edit]:
    value = node.value
    if value is not None and not (isinstance(value, ast.Constant) and value.value is None):
        yield _Edit("lost result", node, places.start(node), places.end(node), b"return None")


_MAKERS: dict[type[ast.AST], Callable[..., Iterator[_Edit]]] = {
    ast.BinOp: _binary,
    ast.Compare: _compare,
    ast.BoolOp: _boolean,
    ast.Constant: _number,
    ast.If: _condition,
    ast.While: _condition,
    ast.Call: _call,
    ast.Return: _return,
}
