"""Texts that need no file, for ladders and searches on a laptop: what every Python carries.

    python:code            the standard library's source, its docstrings taken out
    python:documentation   those docstrings, and the reference that pydoc shows
    worked:arithmetic      sums and products, worked digit by digit, drawn from a seed

Each gives documents in a fixed order. No document of one is part of another's, so that what one
holds out is not trained on through another.
"""

from __future__ import annotations

import ast
import pydoc_data.topics
import random
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path

SHORTEST_DOCUMENT = 200
LONGEST_FILE = 200_000
ARITHMETIC_DOCUMENTS = 8_000
PROBLEMS_OF_A_DOCUMENT = 8
NOT_THE_LIBRARY = {"site-packages", "dist-packages", "test", "tests", "idle_test", "lib2to3"}
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def code() -> Iterator[str]:
    """Every module of the standard library without its docstrings."""
    yield from (bare for bare, _ in _modules() if len(bare) >= SHORTEST_DOCUMENT)


def documentation() -> Iterator[str]:
    """The language's reference, then the library's docstrings, a document a module."""
    pages = [page for _, page in sorted(pydoc_data.topics.topics.items())]
    pages += [documented for _, documented in _modules()]
    yield from (page for page in dict.fromkeys(pages) if len(page) >= SHORTEST_DOCUMENT)


def arithmetic() -> Iterator[str]:
    """Problems of growing length with their working, several a document."""
    for number in range(ARITHMETIC_DOCUMENTS):
        rng = random.Random(f"arithmetic:{number}")
        yield "\n".join(_problem(rng) for _ in range(PROBLEMS_OF_A_DOCUMENT)) + "\n"


TEXTS: Mapping[str, Callable[[], Iterator[str]]] = {
    "python:code": code,
    "python:documentation": documentation,
    "worked:arithmetic": arithmetic,
}


def worked_sum(first: int, second: int) -> str:
    """Column by column from the right.

    Example:
        worked_sum(347, 85)  # "347 + 85: 7+5=12 4+8+1=13 3+0+1=4 -> 432"
    """
    steps, carry = [], 0
    for column in range(len(str(max(first, second)))):
        left, right = first // 10**column % 10, second // 10**column % 10
        total = left + right + carry
        steps.append(f"{left}+{right}{f'+{carry}' if carry else ''}={total}")
        carry = total // 10
    return f"{first} + {second}: {' '.join(steps)} -> {first + second}"


def worked_product(number: int, digit: int) -> str:
    """Digit by digit from the right.

    Example:
        worked_product(47, 6)  # "47 x 6: 7*6=42 4*6+4=28 -> 282"
    """
    steps, carry = [], 0
    for column in range(len(str(number))):
        own = number // 10**column % 10
        total = own * digit + carry
        steps.append(f"{own}*{digit}{f'+{carry}' if carry else ''}={total}")
        carry = total // 10
    return f"{number} x {digit}: {' '.join(steps)} -> {number * digit}"


def _problem(rng: random.Random) -> str:
    first, second = (rng.randrange(10 ** rng.randint(1, 6)) for _ in range(2))
    if rng.random() < 0.5:
        return worked_sum(first, second)
    return worked_product(first, rng.randint(2, 9))


@cache
def _modules() -> list[tuple[str, str]]:
    """Of every module of the library, its source without docstrings, and the docstrings."""
    root = Path(sysconfig.get_paths()["stdlib"])
    found = []
    for file in sorted(root.rglob("*.py")):
        if NOT_THE_LIBRARY & set(file.relative_to(root).parts):
            continue
        try:
            text = file.read_text(encoding="utf-8")
            tree = ast.parse(text)
        except (UnicodeDecodeError, SyntaxError):
            continue
        if len(text) <= LONGEST_FILE:
            found.append(taken_apart(text, tree))
    return found


def taken_apart(text: str, tree: ast.Module) -> tuple[str, str]:
    """A module's source without its docstrings, and these."""
    docstrings: list[str] = []
    dropped: set[int] = set()
    for node in ast.walk(tree):
        docstring = ast.get_docstring(node) if isinstance(node, DOCUMENTED) else None
        if docstring is not None:
            docstrings.append(docstring)
            own = node.body[0]  # type: ignore[attr-defined]
            dropped |= set(range(own.lineno, (own.end_lineno or own.lineno) + 1))
    lines = enumerate(text.splitlines(keepends=True), 1)
    return "".join(line for number, line in lines if number not in dropped), "\n\n".join(docstrings)
