"""The stage `outline`: the lines of a document, and which of them are heads and feet of pages.

A running head is told from text by what it does, not by what it says: it stands at the edge of a
page, and again, but for a page number, on most pages around.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

from munro.questions.mark.captions import captions
from munro.questions.stages import Outcome
from munro.questions.types import Line, Page, pairwise, text_of

STAGE = "outline"
TEXT, RUNNING, FIGURE, HEADING = "text", "running", "figure", "heading"
OF_PAGES = (RUNNING, FIGURE)
"""Lines that stand where the page had room, and are no part of the text around them."""
EDGE = 2
"""Lines at the top and at the bottom of a page among which heads and feet are looked for."""
MOST_HEAD = 100
LEAST_PAGES, LEAST_SHARE = 3, 0.4
"""A running head stands on so many pages, and on this share of those from its first to its last.
Where there are but two, one that counts them stands on both, in the same place."""
MOST_INSIDE = 0.34
"""Times that a running head may stand in the middle of a page, for each at an edge: a chapter's
title does once."""
INK = re.compile(r"[^\n]*\S[^\n]*")
PAGE_NUMBER = re.compile(r"^\W{0,3}(?:page\s+)?(\d{1,5})(?:\s+of\s+\d{1,5})?\W{0,3}$", re.I)
NUMBER_AT_EDGE = re.compile(r"^(\d{1,5})\s+(?=\D)|(?<=\D)\s+(\d{1,5})$")
NUMBERED = re.compile(r"^\(?\d{1,4}(?:\.\d{1,3})*[.)]")


def outlined(pages: Sequence[Page]) -> Outcome:
    """The lines of a document in order."""
    lines = _lines(pages)
    text = text_of([page.text for page in pages])
    running = _running(lines, text)
    rest = [line for line in lines if line.kind == TEXT and line.begin not in running]
    kinds = dict.fromkeys(captions(rest, text), FIGURE) | dict.fromkeys(running, RUNNING)
    return Outcome(kept=[replace(one, kind=kinds.get(one.begin, one.kind)) for one in lines])


def _lines(pages: Sequence[Page]) -> list[Line]:
    lines = []
    start = 0
    for page in pages:
        triples = zip(page.headings[::3], page.headings[1::3], page.headings[2::3], strict=True)
        levels = {begin: level for begin, _, level in triples}
        begins = [begin for begin, _ in pairwise(_without_levels(page.headings))]
        for found in INK.finditer(page.text):
            ink = found[0].strip()
            begin = found.start() + found[0].index(ink)
            named = [one for one in begins if found.start() <= one < found.end()]
            kind = f"{HEADING}{levels[named[0]]}" if named else TEXT
            lines.append(
                Line(
                    document=page.document,
                    begin=start + begin,
                    end=start + begin + len(ink),
                    page=page.number,
                    kind=kind,
                )
            )
        start += len(page.text) + 1
    return lines


def _without_levels(headings: Sequence[int]) -> list[int]:
    return [place for at, place in enumerate(headings) if at % 3 != 2]


def _running(lines: Sequence[Line], text: str) -> set[int]:
    """Where the lines begin that are heads, feet or numbers of pages."""
    edges: list[tuple[Line, str, str]] = []
    inside: Counter[str] = Counter()
    pages = 0
    for _, group in groupby(lines, key=lambda line: line.page):
        page = [(line, text[line.begin : line.end]) for line in group if line.kind == TEXT]
        edges += [(*one, "top") for one in page[:EDGE]]
        edges += [(*one, "bottom") for one in page[max(EDGE, len(page) - EDGE) :]]
        inside.update(_key(words) for _, words in page[EDGE : len(page) - EDGE])
        pages += 1
    return _heads(edges, inside, pages) | _page_numbers(edges, pages)


def _key(words: str) -> str:
    return " ".join(NUMBER_AT_EDGE.sub("", words).split()).casefold()


def _heads(edges: Sequence[tuple[Line, str, str]], inside: Counter[str], pages: int) -> set[int]:
    """Lines that say the same at the edge of many pages, a number that counts the pages aside.

    What says so in the middle of pages too is a line of the text, as exercises of one kind have.
    """
    standing: dict[tuple[str, int | None], list[Line]] = defaultdict(list)
    for line, words, _ in edges:
        if len(words) > MOST_HEAD or NUMBERED.match(words):
            continue
        found = NUMBER_AT_EDGE.search(words)
        offset = int(found[1] or found[2]) - line.page if found else None
        if len(key := _key(words)) > 1:
            standing[key, offset].append(line)
    return {
        begin
        for (key, offset), some in standing.items()
        if inside[key] <= MOST_INSIDE * len(some)
        for begin in _standing(some, LEAST_PAGES if offset is None else _least(pages))
    }


def _page_numbers(edges: Sequence[tuple[Line, str, str]], pages: int) -> set[int]:
    """Lines that are nothing but a number which counts the pages."""
    numbers: dict[tuple[int, str], list[Line]] = defaultdict(list)
    for line, words, edge in edges:
        if found := PAGE_NUMBER.match(words):
            # of two pages, the last line of one and the first of the other may count on too
            numbers[int(found[1]) - line.page, edge if pages == 2 else ""].append(line)
    return {begin for some in numbers.values() for begin in _standing(some, _least(pages))}


def _least(pages: int) -> int:
    """Pages on which something that counts them must stand."""
    return 2 if pages == 2 else LEAST_PAGES


def _standing(some: Sequence[Line], least: int) -> set[int]:
    """Where these lines begin, if they stand on enough pages to be no accident."""
    pages = sorted({line.page for line in some})
    if len(pages) < max(least, LEAST_SHARE * (pages[-1] - pages[0] + 1)):
        return set()
    return {line.begin for line in some}
