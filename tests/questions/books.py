"""Made books whose pairs are known: chapters of mixed exercises in textbooks' usual layouts."""

from __future__ import annotations

import random
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.questions import pdfs

PER_PAGE = 44
TOGETHER = "\v"
"""Between lines that no page parts."""
UNITS = (("metres", "m"), ("seconds", "s"), ("grams", "g"), ("joules", "J"))
PROSE = (
    "The quantity that we study in this chapter is conserved in every closed system.",
    "Before we begin, recall what was said about vectors and their components.",
    "A careful reader will notice that the argument does not depend on the mass.",
)


@dataclass(frozen=True)
class Truth:
    """A pair that the book holds."""

    question: str
    answer: str
    chapter: int
    is_shifted: bool = False


@dataclass
class Book:
    """Lines to be set, and what they hold."""

    lines: list[str] = field(default_factory=list)
    truths: list[Truth] = field(default_factory=list)
    orphans: int = 0
    """Exercises that no answer is given to."""
    width: int = 62
    """Characters of a line."""
    asked: list[str] = field(default_factory=list)
    """Every exercise as it stands, with all its parts."""

    def add(self, *lines: str) -> None:
        for line in lines:
            self.lines += textwrap.wrap(line, self.width) or [""]


def _sum(rng: random.Random) -> tuple[str, str]:
    a, b = rng.randint(100, 999), rng.randint(100, 999)
    return f"Calculate {a} + {b}.", str(a + b)


def _product(rng: random.Random) -> tuple[str, str]:
    a, b = rng.randint(11, 99), rng.randint(11, 99)
    return f"What is {a} * {b}?", str(a * b)


def _equation(rng: random.Random) -> tuple[str, str]:
    letter, value = rng.choice("xyzt"), rng.randint(2, 40)
    a, b = rng.randint(2, 9), rng.randint(1, 50)
    return f"Solve {a}{letter} + {b} = {a * value + b} for {letter}.", f"{letter} = {value}"


def _motion(rng: random.Random) -> tuple[str, str]:
    speed, time = rng.randint(3, 60), rng.randint(2, 50)
    text = (
        f"A cart moves along a straight track with a constant speed of {speed} m/s and nothing "
        f"slows it down. How many metres does it cover within {time} s of leaving the gate?"
    )
    return text, f"{speed * time} metres"


def _energy(rng: random.Random) -> tuple[str, str]:
    mass, height = rng.randint(2, 30), rng.randint(2, 30)
    text = (
        f"A crate of {mass} kg is lifted by {height} m at a place where the free fall has an "
        "acceleration of 10 m/s per second. Find the work that is done, in joules."
    )
    return text, f"{mass * height * 10} joules"


def _polynomial(rng: random.Random) -> tuple[str, str]:
    letter, a, b = rng.choice("uvw"), rng.randint(1, 9), rng.randint(1, 9)
    return (
        f"Expand the product ({letter} + {a})({letter} + {b}) and collect terms.",
        f"{letter}^2 + {a + b}{letter} + {a * b}",
    )


KINDS: Sequence[Callable[[random.Random], tuple[str, str]]] = (
    *(_sum, _product, _equation, _motion, _energy, _polynomial),
)


def exercises(rng: random.Random, count: int) -> list[tuple[str, str]]:
    """Mixed, none twice."""
    found: dict[str, str] = {}
    while len(found) < count:
        question, answer = rng.choice(KINDS)(rng)
        found.setdefault(question, answer)
    return list(found.items())


def book(layout: str, seed: int, *, chapters: int = 3, count: int = 24, width: int = 62) -> Book:
    """A book of a layout: chapter, end, beside, odd, parts, shifted, continued, packed."""
    rng, made = random.Random(f"{layout} {seed}"), Book(width=width)
    keys: list[list[str]] = []
    number = 1
    for chapter in range(1, chapters + 1):
        made.add(f"Chapter {chapter} {rng.choice(('Motion', 'Heat', 'Light'))}", "")
        made.add(*(rng.choice(PROSE) for _ in range(6)), "", "Exercises", "")
        items = exercises(rng, count)
        first = number if layout == "continued" else 1
        number = first + count
        key = _set(made, layout, items, first, chapter)
        keys.append(key)
        if layout in ("chapter", "odd", "parts", "shifted", "continued"):
            made.add("", "Answers", *key, "")
    if layout in ("end", "packed"):
        made.add("Answers to selected exercises", "")
        for chapter, key in enumerate(keys, 1):
            made.add(f"Chapter {chapter}", *(_packed(key) if layout == "packed" else key))
    return made


def _set(
    made: Book, layout: str, items: Sequence[tuple[str, str]], first: int, chapter: int
) -> list[str]:
    """The exercises of a chapter, and its key."""
    is_shifted = layout == "shifted" and chapter == 2
    answers = [answer for _, answer in items]
    key = []
    at = 0
    for number in range(first, first + len(items)):
        if at >= len(items):
            break
        question, answer = items[at]
        if layout == "parts" and at % 4 == 0 and at + 1 < len(items):
            other, second = items[at + 1]
            whole = f"Work these out. a) {question} b) {other}"
            made.add(f"{number}. {whole}")
            made.asked.append(whole)
            key.append(f"{number}. a) {answer} b) {second}")
            stem = "Work these out."
            made.truths += [
                Truth(f"{stem} {question}", answer, chapter),
                Truth(f"{stem} {other}", second, chapter),
            ]
            at += 2
            continue
        made.add(f"{number}. {question}")
        made.asked.append(question)
        if layout == "beside":
            made.add(f"Answer: {answer}")
        if layout == "odd" and number % 2 == 0:
            made.orphans += 1
        else:
            given = answers[(at + 1) % len(items)] if is_shifted else answer
            key.append(f"{number}. {given}")
            made.truths.append(Truth(question, answer, chapter, is_shifted))
        at += 1
    return key


def _packed(key: Sequence[str]) -> list[str]:
    """Several answers on a line, as keys at the end of books have them."""
    return ["   ".join(key[at : at + 3]) for at in range(0, len(key), 3)]


def write_pdf(made: Book, file: Path, *, count: int = 1) -> Path:
    """As a PDF in one or two columns, with running heads; exercises are cut where a page ends."""
    per = PER_PAGE * count
    lines: list[str] = []
    for line in made.lines:
        rows = [row for row in line.split(TOGETHER) if row]
        left = -len(lines) % PER_PAGE
        lines += [""] * (left if 0 < left < len(rows) else 0) + rows
    lines += [""] * (-len(lines) % per)  # columns are filled one after the other
    pages = [lines[at : at + per] for at in range(0, len(lines), per)]
    return pdfs.write(
        file,
        [
            pdfs.columns(page, f"Elements of Everything {number}", number, count=count)
            for number, page in enumerate(pages, 1)
        ],
    )
