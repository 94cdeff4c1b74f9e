"""MathML as LaTeX: its own annotation where it has one, else what its elements say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

SIGNS = {
    "\u2212": "-", "\u00d7": r"\times ", "\u22c5": r"\cdot ", "\u00f7": r"\div ",
    "\u00b1": r"\pm ", "\u2264": r"\le ", "\u2265": r"\ge ", "\u2260": r"\ne ",
    "\u221e": r"\infty ", "\u222b": r"\int ", "\u2211": r"\sum ", "\u220f": r"\prod ",
    "\u2192": r"\to ", "\u2208": r"\in ", "\u2202": r"\partial ", "\u2248": r"\approx ",
    "\u2062": "", "\u2061": "", "\u2063": "", "\u2064": "", "\u03c0": r"\pi ",
    "\u03b1": r"\alpha ", "\u03b2": r"\beta ", "\u03b3": r"\gamma ", "\u03b4": r"\delta ",
    "\u03b8": r"\theta ", "\u03bb": r"\lambda ", "\u03bc": r"\mu ", "\u03c3": r"\sigma ",
    "\u03c9": r"\omega ", "\u0394": r"\Delta ", "\u03a9": r"\Omega ", "\u2032": "'",
}  # fmt: skip
FUNCTIONS = {
    *("sin", "cos", "tan", "cot", "sec", "csc", "log", "ln", "exp", "lim", "min", "max", "gcd"),
    *("arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "det", "dim", "mod"),
}
TEX = ("application/x-tex", "text/x-tex", "tex", "latex", "application/x-latex")


@dataclass(slots=True)
class Node:
    """An element of a formula; its children are elements and texts."""

    tag: str
    attrs: dict[str, str] = field(default_factory=dict)
    children: list[Node | str] = field(default_factory=list)


def latex_of(node: Node) -> str:
    """A formula as LaTeX; empty where it says nothing."""
    if tex := _annotation(node):
        return tex
    return _row(node.children).strip()


def _annotation(node: Node) -> str:
    for child in node.children:
        if isinstance(child, Node):
            if child.tag == "annotation" and child.attrs.get("encoding", "").lower() in TEX:
                return "".join(one for one in child.children if isinstance(one, str)).strip()
            if child.tag in ("semantics", "mrow", "mstyle") and (tex := _annotation(child)):
                return tex
    return ""


def _row(children: list[Node | str]) -> str:
    return "".join(_tex(child) for child in children)


def _tex(node: Node | str) -> str:
    if isinstance(node, str):
        return "".join(SIGNS.get(letter, letter) for letter in node.strip())
    if node.tag in ("annotation", "annotation-xml", "mphantom"):
        return ""
    if node.tag == "mtext":
        words = "".join(child for child in node.children if isinstance(child, str)).strip()
        return rf"\text{{{words}}}" if words else " "
    if node.tag == "mi" and (name := _row(node.children)) in FUNCTIONS:
        return rf"\{name} "
    if node.tag == "mtable":
        return rf"\begin{{matrix}}{_lines(node)}\end{{matrix}}"
    if node.tag in ("mfenced",):
        between = node.attrs.get("separators", ",")[:1]
        inner = between.join(_tex(child) for child in _elements(node))
        return f"{node.attrs.get('open', '(')}{inner}{node.attrs.get('close', ')')}"
    if node.tag == "msqrt":
        return rf"\sqrt{{{_row(node.children)}}}"
    parts = _elements(node)
    count, form = FORMS.get(node.tag, (0, None))
    if form is not None and len(parts) == count:
        return form(*[_tex(part).strip() for part in parts])
    return _row(node.children)


def _elements(node: Node) -> list[Node]:
    return [child for child in node.children if isinstance(child, Node)]


def _lines(node: Node) -> str:
    rows = [row for row in _elements(node) if row.tag in ("mtr", "mlabeledtr")]
    return r" \\ ".join(" & ".join(_row(cell.children) for cell in _elements(row)) for row in rows)


def _base(text: str) -> str:
    return text if len(text) == 1 or (text.startswith("\\") and text.isalpha()) else f"{{{text}}}"


FORMS: dict[str, tuple[int, Callable[..., str]]] = {
    "mfrac": (2, lambda a, b: rf"\frac{{{a}}}{{{b}}}"),
    "msup": (2, lambda a, b: f"{_base(a)}^{{{b}}}"),
    "msub": (2, lambda a, b: f"{_base(a)}_{{{b}}}"),
    "msubsup": (3, lambda a, b, c: f"{_base(a)}_{{{b}}}^{{{c}}}"),
    "munder": (2, lambda a, b: f"{a}_{{{b}}}"),
    "mover": (2, lambda a, b: rf"\overset{{{b}}}{{{a}}}"),
    "munderover": (3, lambda a, b, c: f"{a}_{{{b}}}^{{{c}}}"),
    "mroot": (2, lambda a, b: rf"\sqrt[{b}]{{{a}}}"),
}
