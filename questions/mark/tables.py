"""Keys that are tables: a number and its answer a row, several pairs a row, letters in a grid.

No. Answer No. Answer        1 2 3 4 5        | 1 | 632 | 2 | x = 5 |
1   632    11  x = 5         A C B D A
2   17     12  40 m

What numbers a row must have follows from the rows around it, so that numbers in answers part none.
A row that can be read in two ways is read in neither.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from munro.questions.mark.headings import heading_of
from munro.questions.mark.outline import TEXT
from munro.questions.types import Line

HEADER = re.compile(
    r"^(?:(?:nos?\.?|number|nr\.?|#|ex(?:ercise)?\.?|prob(?:lem)?\.?|q(?:uestion)?\.?|item)\s+"
    r"(?:answers?|ans\.?|solutions?|sol\.?|key|results?)(?:\s+|$)){1,8}$",
    re.I,
)
ANSWER = re.compile(r"\b(?:answers?|ans|solutions?|sol|key|results?)\b", re.I)
NAMED = re.compile(r"^(?:nos?\.?|numbers?|exercises?|questions?|answers?|ans\.?|key):?\s+", re.I)
RULE = re.compile(r"^[\s|:+=-]+$")
WORD = re.compile(r"\S+")
OPEN_AT_END = frozenset("=+-*/^<>,(")
OPEN_AT_START = frozenset("=+*/^<>,)")
LEAST_ROWS = 4
"""Of a table that no line of heads announces."""
LEAST_IN_GRID = 3
MOST_WORDS = 80
MOST_WAYS = 16
MOST_WRAPPED = 2
"""Lines that the answer of a row goes on for."""


@dataclass(frozen=True, slots=True)
class _Word:
    """A word, or a cell, and where it is in the document."""

    text: str
    begin: int
    end: int

    @property
    def number(self) -> int:
        """That it is; -1 where it is none."""
        bare = self.text.rstrip(".)")
        return int(bare) if bare.isascii() and bare.isdigit() and len(bare) < 5 else -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A number and the lines of its answer."""

    number: int
    line: Line
    pieces: tuple[tuple[int, int, int], ...]
    """(begin, end, page) of each."""


@dataclass(slots=True, kw_only=True)
class Table:
    """A key."""

    until: int
    """Place of the first line after it."""
    answers: list[Answer] = field(default_factory=list)
    unread: list[Line] = field(default_factory=list)
    """Rows that can be read in more ways than one, or in none."""


@dataclass(slots=True)
class _Row:
    line: Line
    words: list[_Word]
    more: list[Line] = field(default_factory=list)


def table_at(lines: Sequence[Line], at: int, text: str) -> Table | None:
    """The table that begins with a line, None where none does.

    Args:
        lines: of the document, without heads and feet of pages.
        at: place of the line.
        text: of the document.
    """
    first = text[lines[at].begin : lines[at].end]
    if first.startswith("|"):
        return _piped(lines, at, text)
    if HEADER.match(first):
        pairs = len(ANSWER.findall(first))
        return _paired(lines, at + 1, text, pairs, least=2)
    words = _words(lines[at], text)
    if len(_counting(words)) >= LEAST_IN_GRID:
        return _grid(lines, at, text)
    if len(words) > 1 and words[0].number >= 0 and words[0].text[-1].isdigit():
        return _paired(lines, at, text, 1, least=LEAST_ROWS)
    return None


def _words(line: Line, text: str) -> list[_Word]:
    words = text[line.begin : line.end]
    named = NAMED.match(words)
    found = WORD.finditer(words, named.end() if named else 0)
    return [_Word(one[0], line.begin + one.start(), line.begin + one.end()) for one in found]


def _part(lines: Sequence[Line], at: int, text: str) -> Iterator[tuple[int, Line]]:
    """Lines up to the next heading."""
    for place in range(at, len(lines)):
        line = lines[place]
        if heading_of(text[line.begin : line.end], is_named=line.kind != TEXT) is not None:
            return
        yield place, line


def _counting(words: Sequence[_Word]) -> list[int]:
    """The numbers of a row that has nothing else, one after another or every second."""
    numbers = [word.number for word in words]
    steps = {after - before for before, after in pairwise(numbers)}
    return numbers if numbers and min(numbers) >= 0 and steps in ({1}, {2}) else []


def _grid(lines: Sequence[Line], at: int, text: str) -> Table | None:
    """Rows of numbers, each with as many answers of a word below it."""
    table = Table(until=at)
    last = -1
    waiting: list[int] = []
    for place, line in _part(lines, at, text):
        words = _words(line, text)
        if waiting:
            if len(words) != len(waiting):
                break
            table.answers += [
                _answer(number, line, word) for number, word in zip(waiting, words, strict=True)
            ]
            table.until, last, waiting = place + 1, waiting[-1], []
            continue
        waiting = _counting(words) or ([words[0].number] if len(words) == 1 else [])
        if not waiting or waiting[0] <= last:
            break
    return table if table.answers else None


def _answer(number: int, line: Line, word: _Word) -> Answer:
    return Answer(number=number, line=line, pieces=((word.begin, word.end, line.page),))


def _piped(lines: Sequence[Line], at: int, text: str) -> Table | None:
    """A table of Markdown: cells say themselves where they end."""
    table = Table(until=at)
    waiting: list[_Word] = []
    for place, line in _part(lines, at, text):
        words = text[line.begin : line.end]
        if not words.startswith("|"):
            break
        table.until = place + 1
        if RULE.match(words):
            continue
        cells = _cells(line, words)
        both = list(zip(cells[::2], cells[1::2], strict=False))
        if waiting and len(waiting) == len(cells):
            pairs, waiting = list(zip(waiting, cells, strict=True)), []
        elif len(_counting(cells)) >= LEAST_IN_GRID:
            waiting = cells
            continue
        else:
            pairs = both if all(number.number >= 0 for number, _ in both) else []
        table.answers += [_answer(one.number, line, cell) for one, cell in pairs if cell.text]
    return table if table.answers else None


def _cells(line: Line, words: str) -> list[_Word]:
    found = []
    for one in re.finditer(r"[^|]+", words):
        bare = one[0].strip()
        begin = line.begin + one.start() + (one[0].index(bare) if bare else 0)
        found.append(_Word(bare, begin, begin + len(bare)))
    while found and not found[-1].text:
        found.pop()
    return found


def _paired(lines: Sequence[Line], at: int, text: str, pairs: int, *, least: int) -> Table | None:
    """Rows of so many numbers with an answer each."""
    rows, until = _rows(lines, at, text, pairs, is_announced=least < LEAST_ROWS)
    if len(rows) < least:
        return None
    step = rows[1].words[0].number - rows[0].words[0].number
    for across in _distances(rows, step) if pairs > 1 else [0]:
        table = _read(rows, pairs, across, step, until)
        if table is not None:
            return table
    return Table(until=until, unread=[row.line for row in rows])


def _distances(rows: Sequence[_Row], step: int) -> list[int]:
    """How far the second number of a row may be from its first, the likeliest first."""
    seen: Counter[int] = Counter()
    for row in rows:
        first = row.words[0].number
        seen.update({word.number - first for word in row.words[2:] if word.number > first})
    # along its rows a table goes on where the last row ended, down its columns it does not
    found = [one for one, count in seen.most_common(4) if 2 * count > len(rows)]
    return [one for one in found if one >= len(rows) * step or one in (1, 2)]


def _rows(
    lines: Sequence[Line], at: int, text: str, pairs: int, *, is_announced: bool
) -> tuple[list[_Row], int]:
    """Rows whose first numbers go up by the same step, and the place after them."""
    rows: list[_Row] = []
    until = at
    for place, line in _part(lines, at, text):
        if rows and HEADER.match(text[line.begin : line.end]):  # again, on the next page
            continue
        words = _words(line, text)
        number = words[0].number if words else -1
        expected = number >= 0 and words[0].text[-1].isdigit() and len(words) <= MOST_WORDS
        if len(rows) > 1:
            step = rows[1].words[0].number - rows[0].words[0].number
            expected = expected and number == rows[-1].words[0].number + step
        elif rows:
            expected = expected and 0 < number - rows[0].words[0].number <= 2 * pairs
        if expected:
            rows.append(_Row(line, words))
        elif not rows or not is_announced or len(rows[-1].more) == MOST_WRAPPED:
            break
        else:
            rows[-1].more.append(line)
            continue
        until = place + 1
    if rows and rows[-1].more:  # what follows the last row is not known to be of it
        rows[-1].more.clear()
    return rows, until


def _read(rows: Sequence[_Row], pairs: int, across: int, step: int, until: int) -> Table | None:
    """Answers by number; None where most rows have other numbers."""
    table = Table(until=until)
    is_end, short = True, 0  # the last column may end before the others do
    for row in reversed(rows):
        labels = [row.words[0].number + across * column for column in range(pairs)]
        found = _split(row.words, labels)
        if found:
            is_end = False
        elif is_end and pairs > 1 and not any(str(labels[-1]) in one.text for one in row.words):
            found = _split(row.words, labels[:-1])
            short += 1
        following = str(row.words[0].number + step)
        if not found or (row.more and pairs > 1) or _holds(row.words, found[-1][1], following):
            table.unread.append(row.line)
            continue
        for label, begin, end in found:
            more = tuple((line.begin, line.end, line.page) for line in row.more)
            pieces = ((begin, end, row.line.page), *more)
            table.answers.append(Answer(number=label, line=row.line, pieces=pieces))
    table.answers.sort(key=lambda one: one.number)
    return table if 2 * (len(table.unread) + short) < len(rows) else None


def _split(words: Sequence[_Word], labels: Sequence[int]) -> list[tuple[int, int, int]]:
    """(number, begin, end) of each answer of a row; none unless there is one way to read it."""
    ways: list[list[int]] = [[0]]
    for label in labels[1:]:
        ways = [
            [*way, place]
            for way in ways
            for place in range(way[-1] + 2, len(words) - 1)
            if words[place].text == str(label)
        ][:MOST_WAYS]
    ways = [way for way in ways if _is_whole(words, way)]
    if len(ways) != 1 or len(words) < 2:
        return []
    ends = [*ways[0][1:], len(words)]
    return [
        (label, words[place + 1].begin, words[end - 1].end)
        for label, place, end in zip(labels, ways[0], ends, strict=True)
    ]


def _holds(words: Sequence[_Word], begin: int, number: str) -> bool:
    """Whether the next row may stand in an answer, behind it on one line."""
    last = [word for word in words if word.begin >= begin]
    return any(
        word.text == number and before.text not in OPEN_AT_END and after.text not in OPEN_AT_START
        for before, word, after in zip(last, last[1:], last[2:], strict=False)
    )


def _is_whole(words: Sequence[_Word], way: Sequence[int]) -> bool:
    """Whether no answer ends or begins in the middle of a formula ("x =")."""
    ends = [*way[1:], len(words)]
    parts = [words[place + 1 : end] for place, end in zip(way, ends, strict=True)]
    return all(
        part and part[-1].text not in OPEN_AT_END and part[0].text not in OPEN_AT_START
        for part in parts
    )
