"""The stage `mark`, by rules: the numbered things of textbooks' usual layouts.

Exercises under a heading that says so, answers in a key (after a chapter, at the end, before the
exercises) or beside each question. What stands across a page that could not be read is left out.
"""

from __future__ import annotations

from collections.abc import Sequence

from munro.questions.mark.walk import Item, Walk
from munro.questions.stages import Outcome
from munro.questions.types import Dropped, Line, Page, Span, pieces_of, text_of

STAGE = "mark"


def marked(pages: Sequence[Page], lines: Sequence[Line]) -> Outcome:
    """Spans of questions and answers in the order of the document."""
    text = text_of([page.text for page in pages])
    lost = {page.number for page in pages if not page.text.strip()}
    outcome = Outcome()
    walk = Walk(lines, text)
    for item in walk.items:
        if not item.lines:
            continue
        for role, some in ((item.role, item.lines), ("beside", item.beside)):
            if not some:
                continue
            span = _span(pages[0].document, item, role, some, text)
            inside = lost & set(range(some[0][2], some[-1][2] + 1))
            if inside:
                outcome.dropped.append(_cut(pages[0], span, min(inside), text))
            else:
                outcome.kept.append(span)
    outcome.dropped += [_unread(pages[0], line, text) for line in walk.unread]
    return outcome


def _span(
    document: str, item: Item, role: str, lines: Sequence[tuple[int, int, int]], text: str
) -> Span:
    return Span(
        document=document,
        role=role,
        scope=item.scope,
        run=item.run,
        label=item.label,
        page=lines[0][2],
        pieces=pieces_over(lines, text),
    )


def pieces_over(lines: Sequence[tuple[int, int, int]], text: str) -> tuple[int, ...]:
    """Lines that have nothing but white space between them are one piece, up to a page's end."""
    pieces: list[int] = []
    page = -1
    for begin, end, on in lines:
        if pieces and on == page and not text[pieces[-1] : begin].strip() and pieces[-1] <= begin:
            pieces[-1] = end
        else:
            pieces += [begin, end]
        page = on
    return tuple(pieces)


def _unread(page: Page, line: Line, text: str) -> Dropped:
    return Dropped(
        stage=STAGE,
        reason="a row that can be read in several ways",
        evidence=text[line.begin : line.end],
        source=page.source,
        file=page.file,
        page=line.page,
        id=f"{line.document}/{line.begin}",
    )


def _cut(page: Page, span: Span, lost: int, text: str) -> Dropped:
    return Dropped(
        stage=STAGE,
        reason="a page inside it has no text",
        evidence=f"page {lost}",
        source=page.source,
        file=page.file,
        page=span.page,
        id=f"{span.document}/{span.run}/{span.label}",
        question=pieces_of(text, span.pieces),
    )
