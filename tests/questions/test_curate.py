"""Planted faults are found, clean questions are left alone."""

from __future__ import annotations

import random

import pytest

from munro.questions.clean.curate import curated
from munro.questions.config import CurateConfig
from munro.questions.types import Pair
from tests.questions.books import exercises

ALL = CurateConfig(types=("open", "choice", "proof", "words"))


def pair(question: str, answer: str, number: int = 0) -> Pair:
    return Pair(
        id=str(number), document="d", source="s", file="f", page=1, label="1",
        question=question, answer=answer, question_pieces=(0, 1), answer_pieces=(2, 3), by="r",
    )  # fmt: skip


PLANTED = [
    (
        "tells its answer",
        "A car covers 60 km in an hour (the answer is 60 km/h). How fast is it?",
        "60 km/h",
    ),
    (
        "tells its answer",
        "Why does ice float? Ice is less dense than water.",
        "less dense than water",
    ),
    ("personal", "Mail your result to j.doe@uni.example and compute 3 + 4 for it.", "7"),
    ("personal", "Call 555-123-4567 and say how many metres are in a mile.", "1609"),
    ("personal", "What is 12 + 30? Ask at +44 20 7946 0958 if unsure.", "42"),
    (
        "refers to something that is not there",
        "What current flows in the circuit, see Fig. 3?",
        "2 A",
    ),
    (
        "refers to something that is not there",
        "Use the result of Exercise 12 to find the area.",
        "4",
    ),
    ("refers to something that is not there", "What is the mass shown in the diagram?", "4 kg"),
    ("refers to something that is not there", "From Table 2.1 read the density of lead.", "11"),
    ("a letter without options", "Which of the following gases is noble?", "C"),
    ("several questions in one", "What is the mass of it? How fast does it move?", "3 kg; 4 m/s"),
    ("several questions in one", "(a) What is 2 + 3? (b) What is 4 + 4?", "5 and 8"),
    ("several questions in one", "Find the speed. Calculate the energy.", "3 m/s, 9 J"),
    ("no answer in its place", "What is the limit of the series that follows?", "notfound"),
    ("no answer in its place", "Show that the series above converges for all x.", "Proof."),
    ("no answer in its place", "What do you think of this experiment?", "Answers will vary."),
    ("no answer in its place", "Compute the integral of that function.", "N/A"),
    ("no answer in its place", "Compute the integral of that function.", "see solution"),
    ("too short", "What is it?", "4"),
    ("too long", "Describe the motion of the planet in your own words.", "It moves. " * 80),
]


@pytest.mark.parametrize(("reason", "question", "answer"), PLANTED)
def test_a_planted_fault_is_found(reason: str, question: str, answer: str) -> None:
    outcome = curated([pair(question, answer)], ALL)
    (dropped,) = outcome.dropped
    assert dropped.reason == reason
    assert dropped.evidence


CLEAN = [
    ("A ball is thrown with 12 m/s. How high does it get, in metres, with g = 10?", "7.2 m"),
    ("Find x if 2x + 7 = 19.", "6"),
    ("What is the sum of the first 100 whole numbers?", "5050"),
    ("The figure of merit of a detector is 3. What is its square?", "9"),
    ("In 1905 a paper appeared. How many years before 1915 was that?", "10"),
    ("A page of 30 lines has 60 letters in each. How many letters does it hold?", "1800"),
    ("Compute 555 - 123 - 45.", "387"),
    ("The ratio is 12.5-13.5 to one. What is the mean of the two bounds?", "13"),
    ("Solve for t: 4t = 20 and give your answer in seconds.", "5 s"),
]


def test_clean_questions_stay() -> None:
    made = exercises(random.Random(3), 300)
    outcome = curated([pair(*one, number=at) for at, one in enumerate([*CLEAN, *made])], ALL)
    assert [one.question for one in outcome.dropped] == []


@pytest.mark.parametrize(
    ("question", "answer", "kind"),
    [
        ("What is 2 + 3, as a word or number?", "5", "open"),
        (r"Differentiate the function x^3 once.", "3x^2", "open"),
        ("Which is a unit of energy? A. watt B. joule C. newton", "B", "choice"),
        ("Prove that there is no largest prime number.", "Assume there is one, p.", "proof"),
        ("Why does the sky look blue at noon?", "Short waves scatter more", "words"),
    ],
)
def test_types(question: str, answer: str, kind: str) -> None:
    (kept,) = curated([pair(question, answer)], ALL).kept
    assert kept.type == kind
    outcome = curated([pair(question, answer)], CurateConfig())
    assert [one.reason for one in outcome.dropped] == (
        [] if kind == "open" else [f"of type {kind}"]
    )
