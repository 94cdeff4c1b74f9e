"""Made books whose pairs are known, through parse, outline, mark and pair by rules alone.

    python benchmarks/questions/books.py

Twenty books: eight layouts, one and two columns, four of them once more with other exercises. Of
each: how many exercises were found, how many pairs were taken, how many of these are wrong, how
many of a shifted chapter's went by in silence, and how many texts are not the document's own.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from munro.questions.types import pairwise, text_of  # noqa: E402
from tests.questions import books  # noqa: E402
from tests.questions.reading import asked, flat, marks_of, pages_of_pdf, pairs_of  # noqa: E402

LAYOUTS = ("chapter", "end", "beside", "odd", "parts", "shifted", "continued", "packed")
AGAIN = ("end", "parts", "shifted", "packed")


def measured(layout: str, seed: int, columns: int, folder: Path) -> Counter[str]:
    """Figures of one book."""
    made = books.book(layout, seed, chapters=4, count=40)
    file = books.write_pdf(made, folder / "book.pdf", count=columns)
    began = time.perf_counter()
    pages = pages_of_pdf(file)
    marks = marks_of(pages).kept
    outcome = pairs_of(pages)
    seconds = time.perf_counter() - began
    text = text_of([page.text for page in pages])
    exercises = sum(span.role == "question" for span in marks)
    truth = {flat(one.question): one for one in made.truths}
    found = asked(outcome)
    right = {q for q, a in found.items() if q in truth and truth[q].answer == a}
    shifted = {q for q, one in truth.items() if one.is_shifted}
    listed = {flat(one.question) for one in outcome.dropped}
    own = sum(
        flat(" ".join(text[begin:end] for begin, end in pairwise(pair.question_pieces)))
        == flat(pair.question)
        for pair in outcome.kept
    )
    return Counter(
        {
            "books": 1,
            "pages": len(pages),
            "exercises": books_exercises(made, layout),
            "found": exercises,
            "answered": len(truth) - len(shifted),
            "taken": len(found),
            "right": len(right - shifted),
            "wrong": len(found) - len(right - shifted),
            "shifted": len(shifted),
            "shifted, silent": len(shifted & found.keys()),
            "lost": len(truth.keys() - found.keys() - listed),
            "not verbatim": len(outcome.kept) - own,
            "ms": round(1000 * seconds),
        }
    )


def books_exercises(made: books.Book, layout: str) -> int:
    """Numbered exercises of a book; two parts are one of them."""
    parted = sum(one.question.startswith("Work these out.") for one in made.truths)
    return len(made.truths) + made.orphans - (parted // 2 if layout == "parts" else 0)


def main() -> None:
    """Print a line for each layout, and the whole."""
    runs = [(layout, 0, columns) for layout in LAYOUTS for columns in (1, 2)]
    runs += [(layout, 1, 2) for layout in AGAIN]
    total: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for layout, seed, columns in runs:
            one = measured(layout, seed, columns, Path(folder))
            total += one
            print(f"{layout:<10} {columns} columns  {told(one)}")
    print(f"{'all':<21} {told(total)}")


def told(one: Counter[str]) -> str:
    """The figures on a line."""
    return (
        f"exercises {one['found']} of {one['exercises']}; pairs {one['right']} right of "
        f"{one['answered']}, {one['wrong']} wrong; shifted {one['shifted']}, in silence "
        f"{one['shifted, silent']}; lost {one['lost']}; not verbatim {one['not verbatim']}"
    )


if __name__ == "__main__":
    main()
