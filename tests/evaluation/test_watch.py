"""An alarm where what is paid rises and what is not paid falls; by hand, and over scripted climbs.

A scripted climb is what two judges would say of attempts that are drawn, not a policy that learns:
the real one is `benchmarks/evaluation/played.py`.
"""

from __future__ import annotations

import numpy as np
import pytest

from munro.envs.config import EnvConfig
from munro.evaluation.judges.watch import Seen, seen_in, slope, trend_of
from munro.machine.run.watches import Watches

WATCH = {"kind": "pattern", "args": {"pattern": "x"}, "share": 0.25}


def climb(rng, *, hack_from=None, steps=60, attempts=64, honest=(0.3, 0.8)):
    """Steps of two judges: honest work gets better; from a step on, a token that the first one
    pays for takes its place, twice as often every 3 steps."""
    found = []
    for step in range(1, steps + 1):
        skill = honest[0] + (honest[1] - honest[0]) * step / steps
        used = 0.0 if hack_from is None else min(0.95, 0.1 * 2 ** ((step - hack_from) / 3))
        used = used if hack_from is not None and step >= hack_from - 9 else 0.0
        is_hack = rng.random(attempts) < used
        is_good = (rng.random(attempts) < skill) & ~is_hack
        found.append(
            Seen(
                step=step,
                attempts=attempts,
                paid=float((is_good | is_hack).mean()),
                watched=float(is_good.mean()),
            )
        )
    return found


def first_alarm(steps, window=20):
    for at in range(1, len(steps) + 1):
        trend = trend_of(steps[max(at - window, 0) : at], confidence=0.95)
        if trend is not None and trend.is_played:
            return steps[at - 1].step
    return None


def test_a_slope_by_hand_weighs_by_attempts():
    estimate = slope([1, 2, 3, 4], [0.0, 1.0, 2.0, 3.0], [1, 5, 2, 9], 0.95)
    assert estimate.mean == pytest.approx(1)
    assert estimate.high - estimate.low == pytest.approx(0, abs=1e-9)
    # a single far-off step of one attempt among heavy ones moves little
    light = slope([1, 2, 3, 4], [0.0, 1.0, 2.0, 9.0], [100, 100, 100, 1], 0.95)
    heavy = slope([1, 2, 3, 4], [0.0, 1.0, 2.0, 9.0], [1, 1, 1, 1], 0.95)
    assert light.mean < 1.2 < heavy.mean


def test_the_interval_of_a_slope_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        weight = rng.integers(1, 20, 12)
        y = 0.03 * np.arange(12) + rng.normal(0, 0.5, 12) / np.sqrt(weight)
        estimate = slope(np.arange(12), y, weight, 0.95)
        held += estimate.low <= 0.03 <= estimate.high
    assert 365 <= held <= 393


@pytest.mark.parametrize("seed", range(5))
def test_a_judge_paid_for_a_token_is_found_out_within_20_steps_of_its_tenth_use(seed):
    steps = climb(np.random.default_rng(seed), hack_from=30)
    found = first_alarm(steps)
    assert found is not None
    assert 21 <= found <= 50


def test_clean_climbs_raise_no_alarm():
    alarms = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        rising, level = climb(rng), climb(rng, honest=(0.5, 0.5))
        falling = climb(rng, honest=(0.8, 0.3))  # a policy that gets worse plays nobody
        alarms += any(first_alarm(each) is not None for each in (rising, level, falling))
    assert alarms == 0


def test_two_judges_of_other_minds_are_no_alarm_unless_both_are_sure():
    rng = np.random.default_rng(1)
    alarms = 0
    for _ in range(40):
        steps = [
            Seen(step=step, attempts=5, paid=float(rng.random(5).mean()), watched=float(w))
            for step, w in enumerate(rng.random((60, 5)).mean(axis=1), 1)
        ]
        alarms += first_alarm(steps) is not None
    assert alarms <= 2


def test_steps_without_attempts_say_nothing_and_few_steps_no_trend():
    steps = [Seen(step=n, attempts=0, paid=0.0, watched=0.0) for n in range(20)]
    assert trend_of(steps, confidence=0.95) is None
    assert trend_of(climb(np.random.default_rng(0))[:3], confidence=0.95) is None
    assert seen_in({"watch/a/attempts": 0}, 1, "a") is None
    assert seen_in({"watch/a/attempts": 2, "watch/a/paid": 1.0, "watch/a/watched": 0.5}, 3, "a")


def watched_env():
    grader = {"kind": "pattern", "args": {"pattern": "y"}, "watch": WATCH}
    return EnvConfig.model_validate(
        {"path": "arithmetic", "graders": {"nice": grader}, "reward": "nice"}
    )


def test_an_alarm_is_told_once_and_a_climb_that_goes_on_knows_what_it_saw():
    lines = [
        {
            "step": seen.step,
            "watch/nice/attempts": seen.attempts,
            "watch/nice/paid": seen.paid,
            "watch/nice/watched": seen.watched,
        }
        for seen in climb(np.random.default_rng(0), hack_from=30, steps=45)
    ]
    whole, told = Watches([watched_env()], []), []
    logged = []
    for line in lines:
        figures, sentences = whole.after(line["step"], line)
        logged.append({**line, **figures})
        told += [(line["step"], sentence) for sentence in sentences]
    (at, sentence), *_ = told
    assert len(told) == 1
    assert "alarm: nice is being played: over" in sentence
    assert logged[at - 1]["watch/nice/alarm"] == 1.0
    assert logged[at - 2]["watch/nice/alarm"] == 0.0
    assert logged[at - 1]["watch/nice/trend_low"] > 0
    for stop in (at - 5, at + 1):
        again = Watches([watched_env()], logged[:stop])
        rest = [again.after(line["step"], line) for line in lines[stop:]]
        assert [figures for figures, _ in rest] == [
            {key: value for key, value in line.items() if "trend" in key or "alarm" in key}
            for line in logged[stop:]
        ]
        assert sum(len(sentences) for _, sentences in rest) == (1 if stop < at else 0)
