"""Choices and proofs made open, three times over, and only by what the document says."""

from __future__ import annotations

from typing import Any

import pytest

from munro.questions.answers.classes import consensus
from munro.questions.clean.convert import Rewritten, converted
from munro.questions.config import QuestionsConfig
from munro.questions.reading import Reading
from munro.questions.types import Question
from tests.questions.questions import question_of
from tests.rewards.judges import ScriptedJudge, config_for, says

CHOICE = "Which is the speed of a body that covers 60 m in 4 s? A. 12 m/s B. 15 m/s C. 240 m/s"
PROOF = "Show that the sum of the roots of x^2 - 5x + 6 = 0 is 5."


def config(**more: Any) -> QuestionsConfig:
    whole: dict[str, Any] = {"out": "o", "sources": [{"name": "s", "paths": ["x"]}]}
    return QuestionsConfig.model_validate(whole | more)


def of_type(kind: str, question: str, answer: str) -> Question:
    plain = question_of(kind, question, answer)
    return Question(**{name: getattr(plain, name) for name in Question.__slots__} | {"type": kind})


def once(question: Question, *made: tuple[str, str]) -> tuple[list[Question], list[str]]:
    rewritten = [Rewritten(*one) for one in made]
    outcome = converted([question], config(), lambda some, _: [rewritten for _ in some])
    return outcome.kept, [one.reason for one in outcome.dropped]


OPEN = "What is the speed of a body that covers 60 m in 4 s?"


def test_what_most_rewritings_agree_on_is_taken_and_the_original_kept() -> None:
    choice = of_type("choice", CHOICE, "B")
    made = ((OPEN, "15 m/s"), (OPEN, "15 m/s."), ("How fast?", "12 m/s"))
    (kept,), reasons = once(choice, *made)
    assert (kept.question, kept.answer, kept.type) == (OPEN, "15 m/s", "open")
    assert (kept.converted_from, kept.id, reasons) == (CHOICE, choice.id, [])
    proof = of_type("proof", PROOF, "By Vieta it is 5.")
    asked = "What is the sum of the roots of x^2 - 5x + 6 = 0?"
    (kept,), _ = once(proof, (asked, "5"), (asked, "5"), ("", ""))
    assert kept.answer == "5"


@pytest.mark.parametrize(
    "made",
    [
        ((OPEN, "12 m/s"),) * 3,  # an option, and not the right one
        ((OPEN, "fifteen"),) * 3,  # the model's own words
        ((OPEN, "15 m/s"), ("", ""), ("", "")),  # a minority
        (("", ""),) * 3,
        ((OPEN, "15 m/s"), (OPEN, "")),  # half is not most
    ],
)
def test_without_consensus_on_what_the_document_says_it_is_left_out(
    made: tuple[tuple[str, str], ...],
) -> None:
    assert once(of_type("choice", CHOICE, "B"), *made) == ([], ["no consensus on a rewriting"])


def test_a_rewriting_is_held_to_what_every_question_is() -> None:
    tells = f"{OPEN} The answer is 15 m/s."
    assert once(of_type("choice", CHOICE, "B"), *((tells, "15 m/s"),) * 3) == (
        [],
        ["rewritten, tells its answer"],
    )


def test_what_is_wanted_as_it_is_is_not_shown_to_anybody() -> None:
    open_one = question_of("a", OPEN, "15")
    outcome = converted([open_one], config(), None)
    assert (outcome.kept, outcome.dropped) == ([open_one], [])


def test_a_reader_is_asked_three_times_with_seeds_of_their_own() -> None:
    with ScriptedJudge(lambda _: says(question=OPEN, answer="15 m/s")) as server:
        reader = config_for(server.url, temperature=0.7)
        with Reading(reader) as reading:
            whole = config(models={"reader": reader.model_dump()})
            outcome = converted([of_type("choice", CHOICE, "B")], whole, reading.rewritten)
        assert [one.answer for one in outcome.kept] == ["15 m/s"]
        assert len({body["seed"] for body in server.requests}) == 3


def test_three_times_the_same_answer_is_refused() -> None:
    with pytest.raises(ValueError, match=r"convert.times = 3 with models.reader.temperature = 0"):
        config(models={"reader": {"model": "m", "base_url": "http://localhost:1/v1"}})


def test_equal_answers_are_one_whatever_they_are_written_like() -> None:
    found = consensus(["3", r"\frac{1}{2}", "0.5", "3", "1/2", ""])
    assert (found.answer, found.votes, found.attempts) == (r"\frac{1}{2}", 3, 6)
    assert found.members == (1, 2, 4)
    for six in (
        ["1/2", "0.5", r"\frac{1}{2}", r"$\frac12$", "2^{-1}", "x = 1/2"],
        ["1000", "1,000", "10^3", "1e3", "10^{3}", "1000.0"],
    ):
        wrong = ["7", "7", "7", "8", "9"]  # which wins where texts vote
        assert consensus([*wrong, *six]).members == tuple(range(5, 11))
        texts = consensus([*wrong, *six], same=lambda one, other: one == other)
        assert texts.answer == "7"
    assert consensus(["1", "2"]).answer == ""
    assert consensus(["", " ", ""]).votes == 0
    assert consensus(["Oslo", "oslo", "Bergen"]).answer == "Oslo"
