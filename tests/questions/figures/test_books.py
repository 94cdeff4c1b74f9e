"""Made books in misleading layouts, by rules alone: recall, wrong pairs, nothing that vanishes."""

from __future__ import annotations

from pathlib import Path

import pytest

from munro.questions.types import pieces_of, text_of
from tests.questions.figures.measures import MISLEADING, book, measured, pages
from tests.questions.reading import asked, flat, marks_of, pages_of, pairs_of

SUMS = "Exercises\n" + "".join(f"{n}. What is {n} + 30?\n" for n in range(1, 13)) + "Answers\n"
PAIRS = {f"What is {n} + 30?": str(n + 30) for n in range(1, 13)}


@pytest.mark.parametrize("columns", [1, 2], ids=["one column", "two columns"])
@pytest.mark.parametrize("layout", MISLEADING)
def test_a_misleading_layout_gives_its_pairs_and_no_others(
    layout: str, columns: int, tmp_path: Path
) -> None:
    made = book(layout, 7 + columns, columns)
    found = measured(made, pages(made, tmp_path / "book.pdf", columns))
    assert found["whole"] >= 0.98 * found["exercises"]
    assert found["wrong"] == 0
    assert found["not verbatim"] == 0
    kept = found["right"] + found["need a judge"] + found["refers elsewhere"]
    assert kept >= 0.95 * found["answered"]
    assert found["need a judge"] <= found["answered"] * (1 if layout == "grid" else 0.05)


def row(columns: int, *, across: int) -> str:
    """A key of two or three pairs a row."""
    lines = []
    for at in range(12 // columns):
        first = 1 + at * (columns if across == 1 else 1)
        lines.append(
            " ".join(f"{n} {n + 30}" for n in range(first, first + columns * across, across))
        )
    return "\n".join(lines)


@pytest.mark.parametrize(
    "key",
    [
        "Exercise Answer\n" + "".join(f"{n} {n + 30}\n" for n in range(1, 13)),
        "".join(f"{n} {n + 30}\n" for n in range(1, 13)),
        f"No. Answer No. Answer\n{row(2, across=1)}",
        f"No. Answer No. Answer No. Answer\n{row(3, across=1)}",
        f"No. Answer No. Answer\n{row(2, across=6)}",
        f"No. Answer No. Answer No. Answer\n{row(3, across=4)}",
        "| No. | Answer |\n|---|---|\n" + "".join(f"| {n} | {n + 30} |\n" for n in range(1, 13)),
        "1 2 3 4 5 6\n31 32 33 34 35 36\n7 8 9 10 11 12\n37 38 39 40 41 42\n",
        "No. 1 2 3 4 5 6\nAnswer 31 32 33 34 35 36\nNo. 7 8 9 10 11 12\nAnswer 37 38 39 40 41 42\n",
    ],
)
def test_a_key_that_is_a_table_is_read(key: str) -> None:
    assert asked(pairs_of(pages_of(SUMS + key))) == PAIRS


def test_a_row_that_can_be_read_in_two_ways_is_read_in_none() -> None:
    key = f"No. Answer No. Answer\n{row(2, across=6)}".replace("2 32 8 38", "2 8 m 8 8 m 8 38")
    marks = marks_of(pages_of(SUMS + key))
    labels = {span.label for span in marks.kept if span.role == "answer"}
    assert labels == {str(n) for n in range(1, 13)} - {"2", "8"}
    (unread,) = marks.dropped
    assert (unread.reason, unread.evidence) == (
        "a row that can be read in several ways",
        "2 8 m 8 8 m 8 38",
    )


def test_hostile_tables_take_no_long_time() -> None:
    many = " ".join(str(n % 7) for n in range(79))
    for text in ("No. Answer\n" * 5000, f"{'No. Answer ' * 8}\n" + f"1 {many}\n9 {many}\n" * 50):
        (page,) = pages_of(f"Answers\n{text}")
        assert all(span.role == "answer" for span in marks_of([page]).kept)


def test_an_exercise_that_is_spoken_of_begins_nothing() -> None:
    texts = (
        "1. Read this beside\nExercise 2. What is 2 + 3?\n2. What is 4 + 4?\n",
        "1. Read this beside Exercise\n2. What is 2 + 3?\n2. What is 4 + 4?\n",
        "1. Read this as in Problems 1 and\n2. What is 2 + 3?\n2. What is 4 + 4?\n",
    )
    for text in texts:
        whole = f"Exercises\n{text}"
        spans = [one for one in marks_of(pages_of(whole)).kept if one.role == "question"]
        assert [span.label for span in spans] == ["1", "2"]
        assert flat(pieces_of(whole, spans[0].pieces)).endswith("2. What is 2 + 3?")


def test_a_figure_in_the_middle_of_an_exercise_is_no_part_of_it() -> None:
    above = "1. A cart rolls along a straight track and comes to rest in"
    below = "a minute. How many seconds is that, if the minute is whole?"
    caption = "Figure 2.1. The speed of the cart as a function of the time that\nit needs."
    figure = f"v (m/s)\n0  10  20\n{caption}"
    text = f"Exercises\n{above}\n{figure}\n{below}\n2. What is 4 + 4?\n"
    spans = [one for one in marks_of(pages_of(text)).kept if one.role == "question"]
    whole = text_of([text])
    assert flat(pieces_of(whole, spans[0].pieces)) == f"{above[3:]} {below}"
    spoken_of = text.replace(figure, "Figure 2.1. It is long").replace("rest in", "rest as in")
    first = next(one for one in marks_of(pages_of(spoken_of)).kept if one.role == "question")
    assert "Figure 2.1" in pieces_of(spoken_of, first.pieces)
