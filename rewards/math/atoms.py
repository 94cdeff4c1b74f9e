"""How what begins with a command is read: fractions, roots, sums, matrices."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any, Protocol

from munro.rewards.math.tokens import Unreadable
from munro.rewards.math.tree import Node, Number
from munro.rewards.math.vocabulary import ACCENTS, FUNCTIONS, GREEK, MATRICES, SETS


class Reader(Protocol):
    """What these functions ask of the grammar's reader; each call leaves it behind what it read."""

    bars: int

    @property
    def next(self) -> str: ...
    def take(self) -> str: ...
    def skip(self, text: str) -> None: ...
    def node(self, op: str, *args: Node, value: Any = None) -> Node: ...
    def argument(self) -> Node: ...
    def sum(self) -> Node: ...
    def product(self) -> Node: ...
    def relation(self) -> Node: ...
    def items(self, *, top: bool = False) -> Node: ...
    def letter(self, name: str) -> Node: ...
    def subscript(self) -> str: ...
    def function(self) -> Node: ...


def _binary(op: str) -> Callable[[Reader], Node]:
    def read(reader: Reader) -> Node:
        reader.take()
        return reader.node(op, reader.argument(), reader.argument())

    return read


def _root(reader: Reader) -> Node:
    reader.take()
    index = Node("num", (), Number(Fraction(2), None))
    if reader.next == "[":
        reader.take()
        index = reader.sum()
        reader.skip("]")
    return reader.node("root", reader.argument(), index)


def _between(op: str, closing: str) -> Callable[[Reader], Node]:
    def read(reader: Reader) -> Node:
        reader.take()
        bars, reader.bars = reader.bars, reader.bars + 1
        inside = reader.sum()
        reader.bars = bars
        reader.skip(closing)
        if op == "abs" and inside.op == "mat":
            return reader.node("det", inside)
        return reader.node(op, inside)

    return read


def _constant(op: str, value: Any = None) -> Callable[[Reader], Node]:
    def read(reader: Reader) -> Node:
        reader.take()
        return reader.node(op, value=value)

    return read


def _function_atom(reader: Reader) -> Node:
    return reader.function()


def _named(reader: Reader) -> Node:
    return reader.letter(reader.take())


def _accented(reader: Reader) -> Node:
    accent = reader.take()
    name = reader.subscript()
    return reader.node("sym", value=f"{accent}{{{name}}}")


def _big(op: str) -> Callable[[Reader], Node]:
    def read(reader: Reader) -> Node:
        reader.take()
        bounds: dict[str, Node] = {}
        while reader.next in ("_", "^"):
            side = reader.take()
            if side == "_":
                reader.skip("{")
                bounds[side] = reader.relation()
                reader.skip("}")
            else:
                bounds[side] = reader.argument()
        low = bounds.get("_")
        if low is None or "^" not in bounds or low.op != "rel" or low.value != ("=",):
            raise Unreadable("a sum without bounds")
        return reader.node(op, low.args[0], low.args[1], bounds["^"], reader.product())

    return read


def _environment(reader: Reader) -> Node:
    name = reader.take().removeprefix(r"\begin{").removesuffix("}")
    rows: list[tuple[Node, ...]] = []
    row: list[Node] = []
    while True:
        if reader.next not in ("&", r"\\", rf"\end{{{name}}}"):
            row.append(reader.items() if name == "cases" else reader.relation())
            if reader.next == ",":
                reader.take()
        token = reader.take()
        if token == "&":
            continue
        if row:
            rows.append(tuple(row))
            row = []
        if token == rf"\end{{{name}}}":
            break
        if token != r"\\":
            raise Unreadable(f"{token!r} in a matrix")
    lines = tuple(reader.node("row", *each) for each in rows)
    if name == "cases":
        return reader.node("cases", *lines)
    if name not in MATRICES or len({len(each.args) for each in lines}) != 1:
        raise Unreadable(f"no matrix: {name}")
    matrix = reader.node("mat", *lines)
    return reader.node("det", matrix) if name == "vmatrix" else matrix


ATOMS: dict[str, Callable[[Reader], Node]] = {
    r"\frac": _binary("div"),
    r"\binom": _binary("binom"),
    r"\sqrt": _root,
    "|": _between("abs", "|"),
    r"\lvert": _between("abs", r"\rvert"),
    r"\lfloor": _between("floor", r"\rfloor"),
    r"\lceil": _between("ceil", r"\rceil"),
    r"\infty": _constant("inf"),
    r"\emptyset": _constant("set"),
    r"\ldots": _constant("dots"),
    r"\sum": _big("sum"),
    r"\prod": _big("prod"),
    **{text: _constant("universe", name) for text, name in SETS.items()},
    **dict.fromkeys(FUNCTIONS, _function_atom),
    **dict.fromkeys(ACCENTS, _accented),
    **dict.fromkeys(GREEK | {r"\pi", r"\imath"}, _named),
    **{rf"\begin{{{name}}}": _environment for name in MATRICES | {"cases"}},
}
