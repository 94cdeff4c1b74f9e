"""Made books in eight layouts, by rules alone: what is found, what is wrong, what is verbatim."""

from __future__ import annotations

from pathlib import Path

import pytest

from munro.questions.types import pairwise, text_of
from tests.questions import books
from tests.questions.reading import asked, flat, marks_of, pages_of_pdf, pairs_of

LAYOUTS = ("chapter", "end", "beside", "odd", "parts", "shifted", "continued", "packed")


@pytest.mark.parametrize("count", [1, 2], ids=["one column", "two columns"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_made_book_gives_its_pairs_and_no_others(layout: str, count: int, tmp_path: Path) -> None:
    made = books.book(layout, seed=count)
    pages = pages_of_pdf(books.write_pdf(made, tmp_path / "book.pdf", count=count))
    text = text_of([page.text for page in pages])
    outcome = pairs_of(pages)
    truth = {flat(one.question): one for one in made.truths if not one.is_shifted}
    found = asked(outcome)
    assert found
    assert all(question in truth for question in found)
    assert all(truth[question].answer == answer for question, answer in found.items())
    assert len(found) >= 0.85 * len(truth)
    # what no rule vouches for is there with its reason, and nothing else is missing
    listed = [flat(one.question) for one in outcome.dropped if one.reason == "needs a judge"]
    whole = {flat(one.question) for one in made.truths}
    assert {*found, *listed} == whole
    assert sum(one.reason == "no answer" for one in outcome.dropped) == made.orphans
    for pair in outcome.kept:
        for pieces, words in (
            (pair.question_pieces, pair.question),
            (pair.answer_pieces, pair.answer),
        ):
            stands = " ".join(text[begin:end] for begin, end in pairwise(pieces))
            assert flat(stands) == flat(words)


def test_exercises_cut_by_a_page_are_whole_and_heads_and_feet_are_not_in_them(
    tmp_path: Path,
) -> None:
    made = books.book("chapter", seed=5)
    pages = pages_of_pdf(books.write_pdf(made, tmp_path / "book.pdf"))
    spans = [span for span in marks_of(pages).kept if span.role == "question"]
    assert any(len(span.pieces) > 2 for span in spans)  # some are cut
    questions = list(asked(pairs_of(pages)))
    assert not [one for one in questions if "Elements of Everything" in one]


def test_a_shifted_key_raises_no_silent_pair(tmp_path: Path) -> None:
    for seed in range(3):
        made = books.book("shifted", seed=seed)
        pages = pages_of_pdf(books.write_pdf(made, tmp_path / "book.pdf"))
        shifted = {flat(one.question) for one in made.truths if one.is_shifted}
        outcome = pairs_of(pages)
        assert not shifted & asked(outcome).keys()
        needing = {flat(one.question) for one in outcome.dropped if one.reason == "needs a judge"}
        assert shifted <= needing
