"""Planted faults are found, in the words that the filters know, and clean questions stay."""

from __future__ import annotations

import pytest

from munro.questions.clean.curate import curated
from tests.questions.figures.measures import ALL
from tests.questions.figures.planted import FORMS, Asked, clean, planted
from tests.questions.questions import pair_of

CLEAN = clean(100, gym=False)
LEAST = 0.95


def dropped(asked: list[Asked], *, by_type: bool = False) -> int:
    outcome = curated([pair_of(str(at), *both) for at, both in enumerate(asked)], ALL)
    return len(outcome.dropped) + by_type * sum(one.type == "proof" for one in outcome.kept)


def test_clean_questions_stay() -> None:
    assert dropped(CLEAN) <= 0.02 * len(CLEAN)


@pytest.mark.parametrize("fault", FORMS)
def test_a_planted_fault_is_found(fault: str) -> None:
    faulty = planted(CLEAN)[fault]
    assert dropped(faulty, by_type=fault == "prove") >= LEAST * len(faulty)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("On the graph of f(x) = x^2, what is the height at x = 3?", "9"),
        ("From the graph of y = 2x + 1, or without it, what is y at x = 4?", "9"),
        ("How many insects are in the plot if there are 27 bees and twice as many flies?", "81"),
        ("Solve 5.5 + 0.3256789012 + x = 7 for x, to three decimals.", "1.174"),
        ("A call began on 2994-02-15 at 08:02 and took 3 hours. When did it end, in hours?", "11"),
        ("If 54 of 81 insects are bees, how many are none?", "27"),
        ("Given that 0.5 + 0.25 = 0.75, what is 0.75 + 0.25?", "1"),
        ("Is 91 a prime number? Give your answer as yes or no.", "no"),
        ("The answer is a number below 10. Which prime is both even and positive?", "2"),
    ],
)
def test_what_only_looks_like_a_fault_stays(question: str, answer: str) -> None:
    assert curated([pair_of("1", question, answer)], ALL).dropped == []
