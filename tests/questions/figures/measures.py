"""What rules make of a made book, counted: for the tests and for benchmarks/questions/books.py."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from munro.questions.clean.curate import curated
from munro.questions.config import CurateConfig
from munro.questions.types import Page, pairwise, pieces_of, text_of
from tests.questions import books
from tests.questions.books import Book
from tests.questions.figures import layouts
from tests.questions.reading import flat, marks_of, pages_of_pdf, pairs_of

LAYOUTS = ("chapter", "end", "beside", "odd", "parts", "shifted", "continued", "packed")
MISLEADING = tuple(layouts.SETTERS)
WIDTHS = {1: 62, 2: 50}
"""Characters of a line by the number of columns."""
ALL = CurateConfig(types=("open", "choice", "proof", "words"))


def book(layout: str, seed: int, columns: int, *, chapters: int = 3, count: int = 24) -> Book:
    """A book of any layout."""
    make = layouts.book if layout in layouts.SETTERS else books.book
    return make(layout, seed, chapters=chapters, count=count, width=WIDTHS[columns])


def pages(made: Book, file: Path, columns: int) -> list[Page]:
    """Set as a PDF, and read again."""
    return pages_of_pdf(books.write_pdf(made, file, count=columns))


def measured(made: Book, read: list[Page]) -> Counter[str]:
    """Exercises, pairs, and what became of each."""
    text = text_of([page.text for page in read])
    marks, outcome = marks_of(read).kept, pairs_of(read)
    spans = Counter(flat(pieces_of(text, span.pieces)) for span in marks if span.role == "question")
    truth = {flat(one.question): one for one in made.truths}
    shifted = {question for question, one in truth.items() if one.is_shifted}
    clean = curated(outcome.kept, ALL)
    taken = [(flat(one.question), flat(one.answer)) for one in clean.kept]
    right = sum(q in truth and truth[q].answer == a for q, a in taken if q not in shifted)
    listed = (*outcome.dropped, *clean.dropped)
    whole = spans & Counter(map(flat, made.asked))
    own = sum(_stands(text, one.question_pieces, one.question) for one in outcome.kept)
    own += sum(_stands(text, one.answer_pieces, one.answer) for one in outcome.kept)
    names = {flat(one.question) for one in listed}
    return Counter(
        {
            "books": 1,
            "pages": len(read),
            "exercises": len(made.asked),
            "whole": whole.total(),
            "no exercises": spans.total() - whole.total(),
            "answered": sum(not one.is_shifted for one in made.truths),
            "taken": len(taken),
            "right": right,
            "wrong": len(taken) - right,
            "shifted": len(shifted),
            "shifted, silent": len(shifted & {question for question, _ in taken}),
            "refers elsewhere": sum(one.reason.startswith("refers") for one in clean.dropped),
            "need a judge": sum(one.reason == "needs a judge" for one in outcome.dropped),
            "lost": len(truth.keys() - {question for question, _ in taken} - names),
            "not verbatim": 2 * len(outcome.kept) - own,
        }
    )


def _stands(text: str, pieces: tuple[int, ...], words: str) -> bool:
    return flat(" ".join(text[begin:end] for begin, end in pairwise(pieces))) == flat(words)
