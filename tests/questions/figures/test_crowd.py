"""Copies, changed words, other numbers and other questions, among many: what is told of each."""

from __future__ import annotations

import random

import pytest

from munro.questions.clean.contamination import EvaluationIndex
from munro.questions.clean.duplicates import without_duplicates
from munro.questions.clean.likeness import shared
from munro.questions.clean.ngrams import MOST, NgramIndex
from munro.questions.config import ContaminationConfig, DuplicatesConfig
from tests.questions.figures.crowd import made, renumbered, reordered, reworded
from tests.questions.questions import question_of

COUNT = 120
TEXTS = [made(number, 1) for number in range(COUNT)]
SHORT = [f"What is {n} times {n + 13}?" for n in range(10, 60)]


def found(texts: list[str]) -> list[str]:
    evaluated = ((f"e:{at}", text) for at, text in enumerate([*TEXTS, *SHORT]))
    return [reason for reason, _ in EvaluationIndex(evaluated, ContaminationConfig()).found(texts)]


def test_what_an_evaluation_set_has_is_found_whatever_became_of_it() -> None:
    rng = random.Random(0)
    assert set(found([text.upper().replace(" ", "\n ") for text in TEXTS])) == {"exact"}
    assert found([reworded(text, rng) for text in TEXTS]).count("near") >= 0.95 * COUNT
    assert set(found([renumbered(text, rng) for text in TEXTS])) <= {"template", "near"}
    assert found([made(number, 2) for number in range(COUNT)]).count("") == COUNT


def test_short_questions_are_compared_whole() -> None:
    assert set(found([text.lower() for text in SHORT])) == {"exact"}
    assert set(found([text.replace("is", "was") for text in SHORT])) == {""}


def test_a_question_of_numbers_is_found_by_them() -> None:
    numbers = [str(n) for n in range(5, 45)]
    text = f"Remove all numbers larger than 20 in this list: {', '.join(numbers)}"
    other = text.replace("Remove all", "Take away").replace("larger than", "above")
    index = EvaluationIndex(iter([("e:1", text)]), ContaminationConfig())
    assert [reason for reason, _ in index.found([other])] == ["near"]


@pytest.mark.parametrize("length", [8, 9, 10, 12, 20, 60])
def test_texts_near_a_bound_of_lengths_are_found_across_it(length: int) -> None:
    rng = random.Random(length)
    words = [f"w{rng.randrange(10**6)}" for _ in range(length)]
    index = NgramIndex([" ".join(words), *TEXTS])
    longer = " ".join([*words, "further"])
    changed = " ".join(["other", *words[1:]])
    shorter = " ".join(words[:-1])
    assert [places[:1] for places in index.near([longer, changed, shorter])] == [[0], [0], [0]]


def test_texts_that_share_a_phrase_are_not_the_same_and_many_alike_are_bounded() -> None:
    phrase = "and then the bell rang at noon"
    evaluated = ((f"e:{at}", f"{text} {phrase}") for at, text in enumerate(TEXTS))
    index = EvaluationIndex(evaluated, ContaminationConfig())
    other = "nobody knew that the bell rang at noon or else they would have come"
    assert index.found([other]) == [("", "")]
    text = "one text of many words that differ in the last of them"
    alike = NgramIndex([f"{text} {n}x" for n in range(500)])
    (near,) = alike.near([f"{text} 7x"])
    assert len(near) == MOST
    assert near[0] == 7
    assert NgramIndex([]).near(["a text"]) == [[]]
    assert alike.near(["", "one"]) == [[], []]


def test_numbers_in_common() -> None:
    assert shared((), ()) == 1
    assert shared(("1", "2", "2"), ("2", "2", "3")) == pytest.approx(2 / 3)
    assert shared(("1",), ("1", "1", "1", "1")) == 0.25


def test_copies_are_merged_and_other_numbers_are_named() -> None:
    rng = random.Random(1)
    base = [question_of(f"b{at}", text, str(at)) for at, text in enumerate(TEXTS)]
    moved = [question_of(f"m{at}", reordered(text, rng), str(at)) for at, text in enumerate(TEXTS)]
    other = [question_of(f"n{at}", renumbered(text, rng), "7") for at, text in enumerate(TEXTS)]
    outcome = without_duplicates([*base, *moved, *other], DuplicatesConfig())
    merged = [one.id for one in outcome.dropped if one.reason == "near duplicate"]
    assert len(merged) >= 0.95 * COUNT
    assert all(name.startswith("m") for name in merged)
    named = {one.id: one.template for one in outcome.kept}
    assert all(named[f"n{at}"] == f"b{at}" for at in range(COUNT))
