"""Which answer is a question's, and when nobody may say so without a judge."""

from __future__ import annotations

import time

import pytest

from munro.questions.pair.fit import fit
from munro.questions.pair.values import value_of
from tests.questions.reading import asked, flat, pages_of, pairs_of

MIXED = [
    ("What is 12 * 12?", "144"),
    ("Solve 3x + 5 = 20 for x.", "x = 5"),
    ("How many metres are left of the rope when it was cut twice?", "7 metres"),
    ("Name the gas that burns with a pop.", "hydrogen"),
    ("Is water a conductor?", "yes"),
    ("Calculate 100 - 58.", "42"),
    ("Find the mass of the second body in grams.", "250 g"),
    ("What is 7 * 8?", "56"),
]
PLAIN = [
    (f"Give the value that the table of matter number {n} holds.", str(n * 7)) for n in range(1, 9)
]


def book(pairs: list[tuple[str, str]], key: list[str], *, first: int = 1) -> str:
    numbered = "\n".join(f"{n}. {question}" for n, (question, _) in enumerate(pairs, first))
    answers = "\n".join(f"{n}. {answer}" for n, answer in enumerate(key, first))
    return f"Exercises\n{numbered}\nAnswers\n{answers}\n"


def needing(text: str, **config: object) -> dict[str, str]:
    dropped = pairs_of(pages_of(text), **config).dropped
    return {flat(one.question): one.evidence for one in dropped if one.reason == "needs a judge"}


def test_a_key_that_shows_itself_to_be_right_is_taken_whole() -> None:
    assert asked(pairs_of(pages_of(book(MIXED, [answer for _, answer in MIXED])))) == dict(MIXED)


@pytest.mark.parametrize("by", [-1, 1])
def test_a_shifted_key_is_not(by: int) -> None:
    answers = [answer for _, answer in MIXED]
    text = book(MIXED, [answers[(at + by) % len(answers)] for at in range(len(answers))])
    assert asked(pairs_of(pages_of(text))) == {}
    assert needing(text).keys() == dict(MIXED).keys()


def test_a_key_that_slips_half_way_is_taken_up_to_there() -> None:
    pairs = [*MIXED, *[(question.replace("1", "2"), answer) for question, answer in MIXED[2:]]]
    answers = [answer for _, answer in MIXED] + ["9 g", "no", *["17"] * 4]
    found = asked(pairs_of(pages_of(book(pairs, answers))))
    assert found.items() <= dict(pairs).items()
    assert len(found) >= 5


def test_answers_that_show_nothing_need_a_judge_unless_that_is_waived() -> None:
    text = book(PLAIN, [answer for _, answer in PLAIN])
    assert asked(pairs_of(pages_of(text))) == {}
    assert set(needing(text).values()) == {
        f"{n}: nothing shows that the key is not shifted here" for n in range(1, 9)
    }
    assert asked(pairs_of(pages_of(text), evidence="waived")) == dict(PLAIN)


def test_a_key_for_another_edition_needs_a_judge() -> None:
    answers = [answer for _, answer in MIXED]
    text = book(MIXED, [*answers, "13", "15"])
    why = "1: the key answers 9, which is not among the exercises"
    assert asked(pairs_of(pages_of(text))) == {}
    assert why in needing(text).values()
    reasons = [one.reason for one in pairs_of(pages_of(text)).dropped]
    assert reasons.count("an answer without its question") == 2


def test_parts_are_pairs_of_their_own_with_what_they_share() -> None:
    text = (
        "Exercises\n1. Let x = 3. (a) What is 2 + 3? (b) What is 10 * 4?\n2. What is 6 * 7?\n"
        "Answers\n1. (a) 5 (b) 40\n2. 42\n"
    )
    assert asked(pairs_of(pages_of(text))) == {
        "Let x = 3. What is 2 + 3?": "5",
        "Let x = 3. What is 10 * 4?": "40",
        "What is 6 * 7?": "42",
    }
    other = text.replace("(a) 5 (b) 40", "(a) 5 (b) 40 (c) 9")
    assert "parts of question and answer differ" in str(needing(other))


def test_an_answer_beside_its_question_needs_no_number() -> None:
    text = (
        "Exercises\n1. What is 2 + 3? [Answer: 5]\n2. Name the gas that burns.\n"
        "Solution. hydrogen\n3. What is 9 + 9?\nAns: 17\n"
    )
    outcome = pairs_of(pages_of(text))
    assert asked(outcome) == {"What is 2 + 3?": "5", "Name the gas that burns.": "hydrogen"}
    assert [one.evidence for one in outcome.dropped] == ["3: 9 + 9 is 18, not 17"]


@pytest.mark.parametrize(
    ("question", "answer", "score"),
    [
        ("Evaluate 2^3 - 1.", "7", 1),
        ("What is 1,250 \u00d7 4?", "5,000", 1),
        (r"Compute $\frac{1}{2} + \frac{1}{4}$.", "3/4", 1),
        ("What is 10 / 3?", "3.33", 1),
        ("What is 10 / 3?", "3.34", -1),
        ("Solve 2y - 1 = 9.", "y = 5", 1),
        ("Solve 2y - 1 = 9.", "x = 5", -1),
        ("Find her speed in km/h.", "24 km/h", 1),
        ("Find her speed in km/h.", "24 kg", -1),
        ("Prove that the root of 2 is irrational.", "17", -1),
        ("Which is it? A. ice B. steam", "B", 1),
        ("Which is it?", "B", -1),
        ("How fast is it?", "very", 0),
        ("What is the capital of Norway?", "Oslo", 0),
    ],
)
def test_what_an_answer_shows(question: str, answer: str, score: int) -> None:
    assert fit(question, answer).score == score


@pytest.mark.parametrize(
    "text",
    [
        "9^9^9^9",
        "2^(10^9)",
        "(" * 500,
        "1/0",
        "9" * 5000,
        "__import__('os')",
        "x",
        "1 2",
        "",
        "-" * 300,
    ],
)
def test_no_expression_takes_forever_or_runs(text: str) -> None:
    assert value_of(text) is None


def test_long_texts_take_no_long_time() -> None:
    began = time.process_time()
    for hostile in ("1+" * 100_000, "9" * 100_000, "What is " + "1 " * 1900, "= " * 1900):
        assert fit(hostile, "5").score == 0
        assert fit("What is it?", hostile).score == 0
    assert time.process_time() - began < 2
