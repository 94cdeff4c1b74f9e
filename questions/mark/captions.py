"""Figures that stand where a page had room: their captions, and the words that are drawn in them.

A caption that cannot be told from the text around it stays text: whoever asks the question will
see that it speaks of a figure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby

from munro.questions.mark.headings import heading_of
from munro.questions.mark.labels import DANGLING, label_of
from munro.questions.types import Line

CAPTION = re.compile(
    r"^(?:figure|fig\.?)\s+\d{1,3}(?:[.-]\d{1,3}){0,2}[a-z]?(?:\s*[.:\u2013\u2014]\s+\S|\s+(?=[A-Z(]))",
    re.I,
)
CASED = re.compile(r"^(?:Figure|FIGURE|Fig|FIG)\b")
DRAWN = re.compile(r"^[\w\s().,/\u00b0%'\u2032-]{1,20}$")
END = re.compile(r"[.!?][)\]\"\u201d]?$")
MOST_LINES, MOST_DRAWN = 6, 12
"""Of a caption, and of the words in its figure."""
WIDE, NARROW = 0.75, 0.5
"""Of a page's longest line: what goes on below is longer, what is drawn in a figure shorter."""


def captions(lines: Sequence[Line], text: str) -> set[int]:
    """Where the lines begin that are of figures.

    Args:
        lines: plain ones, without heads and feet of pages.
        text: of the document.
    """
    found: set[int] = set()
    for _, group in groupby(lines, key=lambda line: line.page):
        page = [(line, text[line.begin : line.end]) for line in group]
        if any(CASED.match(words) for _, words in page):
            found.update(_of_page(page))
    return found


def _of_page(page: Sequence[tuple[Line, str]]) -> Iterator[int]:
    width = max(len(words) for _, words in page)
    for at, (_, words) in enumerate(page):
        if not CASED.match(words) or not CAPTION.match(words):
            continue
        if at and DANGLING.search(page[at - 1][1][-60:]):
            continue
        after = _end(page, at, width)
        first = _drawn(page, at, width)
        yield from (line.begin for line, _ in page[first:after])


def _end(page: Sequence[tuple[Line, str]], at: int, width: int) -> int:
    """Place of the first line after a caption; the caption's own where that cannot be told."""
    for place in range(at, min(at + MOST_LINES, len(page))):
        words = page[place][1]
        if place > at and (label_of(words) or heading_of(words, is_named=False)):
            return place
        if END.search(words) or len(words) < WIDE * width:
            return place + 1
    return at


def _drawn(page: Sequence[tuple[Line, str]], at: int, width: int) -> int:
    """Place of the first line that is drawn in the figure above a caption."""
    first = at
    while first and at - first < MOST_DRAWN:
        words = page[first - 1][1]
        is_short = len(words) <= NARROW * width and DRAWN.match(words) is not None
        if not is_short or END.search(words) or label_of(words):
            break
        first -= 1
    return first
