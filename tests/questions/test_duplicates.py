"""Equal and nearly equal questions, and such as only look alike."""

from __future__ import annotations

import random

from munro.questions.clean.duplicates import without_duplicates
from munro.questions.config import DuplicatesConfig
from munro.questions.types import Question
from tests.questions.questions import long_questions, question_of

PLAIN = DuplicatesConfig()


def reasons(questions: list[Question]) -> dict[str, str]:
    return {one.id: one.reason for one in without_duplicates(questions, PLAIN).dropped}


def test_case_and_white_space_make_no_other_question() -> None:
    base = long_questions(40)
    same = [question_of(f"c{n}", one.question.upper(), one.answer) for n, one in enumerate(base)]
    wide = [
        question_of(f"w{n}", one.question.replace(" ", "  \n"), one.answer)
        for n, one in enumerate(base)
    ]
    found = reasons([*base, *base, *same, *wide])
    assert {found[one.id] for one in (*same, *wide)} == {"exact duplicate"}
    outcome = without_duplicates([*base, *same, *wide], PLAIN)
    assert [one.id for one in outcome.kept] == [one.id for one in base]


def test_a_sentence_in_another_place_makes_none_either() -> None:
    base = long_questions(100)
    moved = []
    for number, one in enumerate(base):
        first, *rest, last = one.question.split(". ")
        moved.append(question_of(f"m{number}", ". ".join([*rest, first, last]), one.answer))
    found = reasons([*base, *moved])
    assert sum(found.get(one.id) == "near duplicate" for one in moved) >= 95
    assert not any(one.id in found for one in base)


def test_other_numbers_are_named_and_kept() -> None:
    base = long_questions(50)
    rng = random.Random(1)
    other = []
    for number, one in enumerate(base):
        words = [
            str(rng.randint(1000, 9999)) if word.isdigit() else word
            for word in one.question.split()
        ]
        other.append(question_of(f"o{number}", " ".join(words), "7"))
    outcome = without_duplicates([*base, *other], PLAIN)
    assert not outcome.dropped
    named = {one.id: one.template for one in outcome.kept}
    assert all(named[one.id] == base[number].id for number, one in enumerate(other))


def test_one_word_that_changes_the_answer_is_another_question() -> None:
    text = "A field of {} m by 30 m is fenced off. What is its {} that can be had with this fence?"
    both = [
        question_of("a", text.format(20, "largest area"), "600"),
        question_of("b", text.format(20, "smallest area"), "0"),
    ]
    assert reasons(both) == {}


def test_the_same_question_with_two_answers_is_nobodys() -> None:
    one, *others = long_questions(5)
    outcome = without_duplicates([one, *others, question_of("x", one.question, "other")], PLAIN)
    assert {drop.id for drop in outcome.dropped} == {one.id, "x"}
    assert {drop.reason for drop in outcome.dropped} == {"asked with different answers"}
    assert "other" in outcome.dropped[0].evidence


def test_nothing_is_no_trouble() -> None:
    assert without_duplicates([], PLAIN).kept == []
