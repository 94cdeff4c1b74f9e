"""The door from mathematics to a judge: open where no rule decides, shut where one did."""

from __future__ import annotations

import pytest

from munro.rewards.errors import GraderError
from munro.rewards.math import MathVerifier
from munro.rewards.types import Grade
from tests.rewards.judges import fails, material, says, scripted


class Kind:
    """A judge who says yes to everything, and remembers what."""

    def __init__(self):
        self.asked = []

    def equivalent(self, question, reference, responses):
        self.asked += [(question, reference, response) for response in responses]
        return [Grade.of(True, "judged") for _ in responses]


@pytest.fixture(scope="module")
def verifier_of():
    kind = Kind()
    with MathVerifier(judge=kind) as verifier:
        yield verifier, kind


def reply(answer):
    return f"<answer>{answer}</answer>"


@pytest.mark.parametrize(
    ("answer", "gold", "why"),
    [
        ("the city of Paris", "Paris", "other words"),
        ("half past three", "3:30 pm", "a time of day in words"),
        ("5000 m", "5 km", "another unit"),
        ("v = 5000 m", "5 km", "another unit behind a name"),
        ("qu'est-ce \\frac", "\\frac{x}{2}", "unreadable"),
        ("H2SO4 (aq)", "aqueous acid, H_2 S O_4 (aq) & more", "an unreadable reference"),
    ],
)
def test_what_no_rule_decides_the_judge_does(verifier_of, answer, gold, why):
    verifier, kind = verifier_of
    kind.asked.clear()
    grade = verifier.verify(reply(answer), gold, "What?")
    assert (grade.passed, grade.reason) == (True, "judged"), why
    assert kind.asked == [("What?", gold, answer)]


@pytest.mark.parametrize(
    ("answer", "gold", "passed"),
    [
        ("0.5", "1/2", True),
        ("3", "4", False),
        ("5 m", "6 m", False),
        ("B", "(A)", False),
        ("No", "yes", False),
        ("paris", "Paris", True),
        ("x+1", "x+2", False),
        ("2x", "x+x", True),
        ("{" * 60, "x", False),
        ("", "x", False),
    ],
)
def test_what_was_decided_the_judge_never_sees(verifier_of, answer, gold, passed):
    verifier, kind = verifier_of
    kind.asked.clear()
    assert verifier.verify(reply(answer), gold).passed is passed
    assert verifier.verify("I give up.", gold).passed is False
    assert kind.asked == []


def test_without_a_judge_nothing_changes():
    with MathVerifier() as verifier:
        assert verifier.verify(reply("the city of Paris"), "Paris").passed is False
        assert verifier.verify(reply("5000 m"), "5 km").passed is False


def test_a_group_asks_once_for_each_answer_and_keeps_its_order():
    def answer(body):
        return says(verdict="yes" if "City" in material(body, "RESPONSE") else "no")

    texts = ["Mexico City", "the City", "Paris", "Mexico", "Paris", "the City"]
    with scripted(answer) as (judge, server), MathVerifier(judge=judge) as verifier:
        grades = verifier.verify_group([reply(text) for text in texts], "Mexico City", "Where?")
        assert [grade.passed for grade in grades] == [True, True, False, False, False, True]
        assert len(server.requests) == 3
        assert {material(body, "QUESTION") for body in server.requests} == {"Where?"}


def test_a_judge_that_fails_leaves_an_answer_without_a_grade():
    with scripted(fails(500)) as (judge, _), MathVerifier(judge=judge) as verifier:
        with pytest.raises(GraderError, match="HTTP 500"):
            verifier.verify(reply("the city"), "Paris")
        assert verifier.verify(reply("2/4"), "0.5").passed
