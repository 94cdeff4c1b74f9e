"""Question and answer stand in the document, whatever its format, but for white space."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from munro.questions.types import Page, pairwise, text_of
from tests.questions import pdfs
from tests.questions.figures.measures import LAYOUTS, MISLEADING, book
from tests.questions.reading import flat, page_of_html, pages_of, pages_of_pdf, pairs_of


def assert_verbatim(pages: list[Page]) -> int:
    """How many texts there were."""
    text = text_of([page.text for page in pages])
    kept = pairs_of(pages, evidence="waived").kept
    for pair in kept:
        for words, pieces in (
            (pair.question, pair.question_pieces),
            (pair.answer, pair.answer_pieces),
        ):
            assert flat(" ".join(text[b:e] for b, e in pairwise(pieces))) == flat(words)
            assert all(flat(line) in flat(text) for line in words.split("\n"))
    return 2 * len(kept)


@pytest.mark.parametrize("layout", [*LAYOUTS, *MISLEADING])
def test_plain_text_and_html(layout: str, tmp_path: Path) -> None:
    made = book(layout, 3, 1, chapters=2, count=12)
    lines = "\n".join(made.lines).replace("\t", " ").replace("\v", "\n").split("\n")
    assert assert_verbatim(pages_of("\n".join(lines)))
    paragraphs = "".join(f"<p>{line}</p>" for line in lines)
    assert assert_verbatim([page_of_html(f"<html><body>{paragraphs}</body></html>", tmp_path)])


def test_a_noisy_key_is_kept_where_it_is_right() -> None:
    rng = random.Random(4)
    sums = [(rng.randint(100, 999), rng.randint(100, 999)) for _ in range(40)]
    wrong = set(rng.sample(range(40), 12))
    key = [sum(both) + (10 if at in wrong else 0) for at, both in enumerate(sums)]
    asked = [f"{n}. What is {one} + {other}?" for n, (one, other) in enumerate(sums, 1)]
    text = "\n".join(["Exercises", *asked, "Answers", *(f"{n}. {a}" for n, a in enumerate(key, 1))])
    kept = {flat(pair.question): pair.answer for pair in pairs_of(pages_of(text)).kept}
    right = {f"What is {one} + {other}?": str(one + other) for one, other in sums}
    assert kept.items() <= right.items()
    assert len(kept) == 28


def test_a_page_of_few_lines_keeps_them_apart(tmp_path: Path) -> None:
    rows = [("No.", "Answer") * 3, ("1", "632", "2", "x = 5", "3", "150 metres")]
    rows.append(("4", "2", "5", "u^2 + 5u + 6", "6", "9"))
    drawn = [(50.0, 40.0, "Answers")]
    drawn += [
        (50 + 82 * at, 70 + 13 * number, cell)
        for number, row in enumerate(rows)
        for at, cell in enumerate(row)
    ]
    (page,) = pages_of_pdf(pdfs.write(tmp_path / "few.pdf", [drawn]))
    assert page.text.split("\n") == ["Answers", *(" ".join(row) for row in rows)]
