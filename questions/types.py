"""What flows from a document to a question. Each stage keeps one of these a row, in Parquet.

Nobody rewrites what a document says: a question is pieces of the document's text, by the places
where they begin and end. Places count characters of all pages joined by form feeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

PAGE_END = "\f"
"""Between the pages of a document's text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page as it was parsed.

    Example:
        Page(document="9f86d081884c", source="physics", file="books/waves.pdf", number=12,
             text="Exercises\\n1. How long ...")
    """

    document: str
    """First digits of the SHA-256 of the file."""
    source: str
    """Name of the source in the recipe."""
    file: str
    number: int
    """From 1."""
    text: str
    """Lines end in a newline; no NUL, no lone surrogate, no form feed."""
    headings: tuple[int, ...] = ()
    """Where the format itself says so: begin, end and level of each heading, one after another."""
    needs: str = ""
    """Why it needs a reader of scans: the file does not hold its text."""
    read_by: str = ""
    """The reader of scans that the text is from; empty where it is the file's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a document that an exercise may stand on.

    Example:
        Line(document="9f86d081884c", begin=310, end=335, page=12, kind="text")
    """

    document: str
    begin: int
    end: int
    page: int
    kind: str
    """text, heading, or running: the heads and feet of pages, and their numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A question or an answer as it was marked: its number, its place, its pieces.

    Example:
        Span(document="9f86d081884c", role="question", scope="1/Chapter 2", run=3, label="14",
             pieces=(310, 391))
    """

    document: str
    role: str
    """question or answer."""
    scope: str
    """What it is numbered within: book and chapter."""
    run: int
    """Which list of numbered things of the document it stands in, from 0."""
    label: str
    """Its number: "14", "3.2", or "14a" of a part."""
    page: int
    """Where it begins."""
    pieces: tuple[int, ...]
    """Begin and end of each piece."""
    by: str = "rules"
    """Who marked it: rules, or the name of a model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A question and its answer, both as the document has them.

    Example:
        Pair(id="5a1f...", question="How far ...?", answer="5 km", label="14", page=12, ...)
    """

    id: str
    """Digest of both texts and where they stand."""
    document: str
    source: str
    file: str
    page: int
    label: str
    question: str
    answer: str
    question_pieces: tuple[int, ...]
    answer_pieces: tuple[int, ...]
    by: str
    """What vouches for it: the rule that did, or the name of a model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A pair that a climb may be given.

    Example:
        Question(id="5a1f...", question="How far ...?", answer="5 km", type="open", ...)
    """

    id: str
    document: str
    source: str
    file: str
    page: int
    label: str
    question: str
    answer: str
    question_pieces: tuple[int, ...]
    answer_pieces: tuple[int, ...]
    by: str
    type: str
    """open, choice, proof, or words: an answer that only a judge can compare."""
    converted_from: str = ""
    """The question before it was rewritten; empty where it stands as in the document."""
    topic: str = ""
    """What it is about, of `munro.questions.config.Topic`."""
    template: str = ""
    """Of an earlier question that differs in numbers only, its id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """What a stage left out, and why.

    Example:
        Dropped(stage="curate", reason="refers to a figure", evidence="see Fig. 3", ...)
    """

    stage: str
    reason: str
    """Of a short list; counted in the funnel."""
    evidence: str
    """What the reason was seen by."""
    source: str = ""
    file: str = ""
    page: int = 0
    """0 for a whole file."""
    id: str = ""
    question: str = ""
    answer: str = ""


def text_of(pages: Sequence[str]) -> str:
    """The whole text that places count in."""
    return PAGE_END.join(pages)


def pieces_of(text: str, pieces: Sequence[int]) -> str:
    """What stands in these pieces, trimmed, one below the other."""
    parts = [text[begin:end].strip() for begin, end in pairwise(pieces)]
    return "\n".join(part for part in parts if part)


def pairwise(pieces: Sequence[int]) -> list[tuple[int, int]]:
    """(begin, end) of each piece."""
    return list(zip(pieces[::2], pieces[1::2], strict=True))
