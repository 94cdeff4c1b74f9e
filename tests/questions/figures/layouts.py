"""More made books, in layouts that mislead: tables, figures, references, sections, three parts."""

from __future__ import annotations

import random
import textwrap
from collections.abc import Callable, Sequence

from tests.questions.books import PROSE, TOGETHER, Book, Truth, exercises

Items = Sequence[tuple[str, str]]
SUBJECTS = ("Motion", "Heat", "Light")
LABELS = (("v (m/s)", "0   5   10   15", "t (s)"), ("p", "A", "B", "C", "V"), ("20 cm", "m", "F"))
CAPTIONS = (
    "Speed of the cart over the time that it takes to come to rest.",
    "The crate before it is lifted.",
    "Forces on a body that rests on a plane, and the angle between them. Not to scale.",
)


def book(layout: str, seed: int, *, chapters: int = 3, count: int = 24, width: int = 62) -> Book:
    """A book of a layout: table, rows, tabled, grid, figures, crossed, lettered, sections."""
    rng, made = random.Random(f"{layout} {seed}"), Book(width=width)
    for chapter in range(1, chapters + 1):
        made.add(f"Chapter {chapter} {rng.choice(SUBJECTS)}", "")
        made.add(*(rng.choice(PROSE) for _ in range(6)), "")
        SETTERS[layout](made, rng, exercises(rng, count), chapter)
    return made


def _listed(made: Book, items: Items, chapter: int) -> None:
    made.add("Exercises", "")
    for number, (question, answer) in enumerate(items, 1):
        made.add(f"{number}. {question}")
        made.asked.append(question)
        made.truths.append(Truth(question, answer, chapter))


def _table(made: Book, rng: random.Random, items: Items, chapter: int) -> None:
    """A key in a table of a pair a row."""
    _listed(made, items, chapter)
    made.lines += ["Answers", "Exercise\tAnswer"]
    made.lines += [f"{number}\t{answer}" for number, (_, answer) in enumerate(items, 1)]


def _rows(made: Book, rng: random.Random, items: Items, chapter: int) -> None:
    """A key in a table of two pairs a row, read along its rows."""
    _listed(made, items, chapter)
    made.lines += ["Answers", "No.\tAnswer\tNo.\tAnswer"]
    cells = [f"{number}\t{answer}" for number, (_, answer) in enumerate(items, 1)]
    made.lines += ["\t".join(cells[at : at + 2]) for at in range(0, len(cells), 2)]


def _tabled(made: Book, rng: random.Random, items: Items, chapter: int) -> None:
    """The same, read down its columns."""
    _listed(made, items, chapter)
    made.lines += ["Answers", "No.\tAnswer\tNo.\tAnswer"]
    cells = [f"{number}\t{answer}" for number, (_, answer) in enumerate(items, 1)]
    half = -(-len(cells) // 2)
    made.lines += ["\t".join(cells[at::half]) for at in range(half)]


def _grid(made: Book, rng: random.Random, items: Items, chapter: int) -> None:
    """Choices, and a key of letters below their numbers."""
    chosen = []
    for question, answer in items:
        right = rng.randrange(4)
        others = [other for _, other in rng.sample(items, 8) if other != answer]
        options = [*others[:right], answer, *others[right:]][:4]
        told = " ".join(f"{letter}. {one}" for letter, one in zip("ABCD", options, strict=True))
        chosen.append((f"{question} {told}", "ABCD"[right]))
    _listed(made, chosen, chapter)
    made.lines.append("Answers")
    for at in range(0, len(chosen), 8):
        part = chosen[at : at + 8]
        made.lines.append("   ".join(str(at + place) for place in range(1, len(part) + 1)))
        made.lines.append("   ".join(answer for _, answer in part))


def _keyed(made: Book, items: Items) -> None:
    made.add("", "Answers", *(f"{n}. {answer}" for n, (_, answer) in enumerate(items, 1)))


def _figures(made: Book, rng: random.Random, items: Items, chapter: int) -> None:
    """Figures that stand where the page had room: some in the middle of an exercise."""
    _listed(made, items, chapter)
    begin = max(at for at, line in enumerate(made.lines) if line == "Exercises") + 2
    lines, number = made.lines[begin:], 0
    del made.lines[begin:]
    for at, line in enumerate(lines):
        made.lines.append(line)
        if at % 9 == 4:
            number += 1
            caption = f"Figure {chapter}.{number}. {rng.choice(CAPTIONS)}"
            block = [*rng.choice(LABELS), *textwrap.wrap(caption, made.width)]
            made.lines.append(TOGETHER.join(block))
    _keyed(made, items)


def _crossed(made: Book, rng: random.Random, items: Items, chapter: int) -> None:
    """Every fourth exercise speaks of another one, by its number, wherever a line may break."""
    told = []
    for number, (question, answer) in enumerate(items, 1):
        other = number + rng.choice((-2, -1, 1, 2))
        if number % 4 == 0 and other > 0:
            padding = " ".join(["carefully"] * rng.randrange(4))
            question = f"Read this {padding} beside Exercise {other}. {question}"
        elif number % 4 == 2 and other > 0:
            question = f"{question} Compare your result with what was found in Problem {other}."
        told.append((" ".join(question.split()), answer))
    _listed(made, told, chapter)
    _keyed(made, items)


def _lettered(made: Book, rng: random.Random, items: Items, chapter: int) -> None:
    """Three parts a), b), c), each on a line of its own, with what they share above them."""
    made.add("Exercises", "")
    key, at, number = [], 0, 0
    while at < len(items):
        number += 1
        if number % 3 or at + 3 > len(items):
            question, answer = items[at]
            made.add(f"{number}. {question}")
            made.asked.append(question)
            key.append(f"{number}. {answer}")
            made.truths.append(Truth(question, answer, chapter))
            at += 1
            continue
        three, stem = items[at : at + 3], "These three have nothing to do with each other."
        made.add(f"{number}. {stem}")
        made.add(
            *(f"{letter}) {question}" for letter, (question, _) in zip("abc", three, strict=True))
        )
        parts = " ".join(f"{letter}) {q}" for letter, (q, _) in zip("abc", three, strict=True))
        made.asked.append(f"{stem} {parts}")
        key.append(
            f"{number}. " + "  ".join(f"{x}) {a}" for x, (_, a) in zip("abc", three, strict=True))
        )
        made.truths += [Truth(f"{stem} {question}", answer, chapter) for question, answer in three]
        at += 3
    made.add("", "Answers", *key)


def _sections(made: Book, rng: random.Random, items: Items, chapter: int) -> None:
    """Numbers that begin again in each section of a chapter, and a key by sections at its end."""
    half = len(items) // 2
    parts = {1: items[:half], 2: items[half:]}
    for section, part in parts.items():
        made.add(f"{chapter}.{section} On what was said", *PROSE, f"Exercises {chapter}.{section}")
        for number, (question, answer) in enumerate(part, 1):
            made.add(f"{number}. {question}")
            made.asked.append(question)
            made.truths.append(Truth(question, answer, chapter))
    made.add(f"Answers to Chapter {chapter}")
    for section, part in parts.items():
        made.add(f"Exercises {chapter}.{section}")
        made.add(*(f"{number}. {answer}" for number, (_, answer) in enumerate(part, 1)))


SETTERS: dict[str, Callable[[Book, random.Random, Items, int], None]] = {
    "table": _table,
    "rows": _rows,
    "tabled": _tabled,
    "grid": _grid,
    "figures": _figures,
    "crossed": _crossed,
    "lettered": _lettered,
    "sections": _sections,
}
