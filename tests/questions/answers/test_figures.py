"""What the figures are made of: six notations of one value, planted errors, a judge by rule."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from benchmarks.questions import consensus as notations
from benchmarks.questions import noise
from munro.questions.answers.classes import consensus


@pytest.mark.parametrize("right", [4, 5, 8])
def test_half_of_the_attempts_win_by_classes_and_seldom_by_strings(right: int) -> None:
    found = notations.measured(right, "different", seed=1, values=15)
    assert found.classes == found.total == 15
    assert found.strings < found.total
    unread = notations.measured(right, "unreadable", seed=1, values=5)
    assert unread.classes == 5


def test_a_wrong_value_that_most_agree_on_wins_and_two_halves_do_not() -> None:
    assert notations.measured(3, "one", seed=1, values=5).classes == 0
    assert notations.measured(5, "one", seed=1, values=5).classes == 5
    rng = random.Random(0)
    halves = notations.attempts(rng, notations.drawn(rng), 4, "one")
    assert consensus(halves).answer == ""


def test_a_tenth_is_planted_and_three_in_ten_forget_a_carry() -> None:
    asked = noise.questions(200)
    stored = noise.planted(asked, 0)
    wrong = [(answer, held) for (_, answer), held in zip(asked, stored, strict=True)]
    wrong = [(answer, held) for answer, held in wrong if answer != held]
    assert len(wrong) == 20
    carries = [answer - held for answer, held in wrong if answer - held in (10, 100, 1000)]
    assert len(carries) >= 5
    assert noise.planted(asked, 0) == stored
    assert noise.planted(asked, 1) != stored


def told(question: str, one: str, other: str) -> dict[str, Any]:
    shown = {"QUESTION": question, "ANSWER A": one, "ANSWER B": other}
    text = "".join(f"[BEGIN {name} x]\n{value}\n[END {name} x]\n" for name, value in shown.items())
    return {"messages": [{"role": "user", "content": text}]}


@pytest.mark.parametrize("accuracy", [0.7, 0.9, 1.0])
def test_the_judge_is_right_as_often_as_told_and_the_same_in_both_orders(accuracy: float) -> None:
    by, right = noise.judge(accuracy, seed=3), 0
    for n in range(100, 500):
        question, truth = f"What is {n} + 100?", str(n + 100)
        first = json.loads(by(told(question, truth, "7")).content or "")["right"]
        second = json.loads(by(told(question, "7", truth)).content or "")["right"]
        assert (first, second) in [("A", "B"), ("B", "A")]
        right += first == "A"
    assert abs(right / 400 - accuracy) < 0.06


def test_what_became_of_rows_is_counted() -> None:
    def row(answer: str, truth: int, bracket: str = "easy", **more: str) -> dict[str, Any]:
        return {"answer": answer, "truth": truth, "bracket": bracket, **more}

    kept = [row("4", 4), row("5", 4), row("6", 6, "hard", doubt="stored"), row("7", 7, "hard")]
    dropped = [{"row": row("9", 8)}, {"row": row("8", 8)}]
    found = noise.figures(kept, dropped)
    assert (found.planted, found.found, found.right, found.lost) == (2, 1, 4, 1)
    assert (found.hard, found.hard_lost) == (3, 1)
    at_once = noise.figures(kept, dropped, at_once=True)
    assert (at_once.found, at_once.lost, at_once.hard, at_once.hard_lost) == (1, 2, 3, 2)
    assert "0.500" in noise.line("x", [found])
