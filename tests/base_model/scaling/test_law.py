"""The scaling law and the gains: closed forms, known truths, and what cannot be said."""

from __future__ import annotations

import math

import numpy as np
import pytest

from munro.base_model.results import ONLY_LOSS
from munro.base_model.scaling.comparison import CompareConfig, compare
from munro.base_model.scaling.law import Noise, PowerLaw, TooFewRungs, Trend, efficiency_gain, fit
from tests.base_model.ladders import LAW, Idea, costs, losses, single


@pytest.mark.parametrize("law", [LAW, PowerLaw(50.0, 0.07, 0.4), PowerLaw(3e9, 0.5, 2.0)])
def test_a_law_is_found_again_from_its_own_losses(law):
    at = costs(5)
    found = fit(at, law.loss(at)).law
    assert found.alpha == pytest.approx(law.alpha, rel=2e-3)
    assert pytest.approx(law.E, rel=2e-3) == found.E
    assert found.loss(at) == pytest.approx(law.loss(at), rel=1e-5)


def test_a_law_without_a_floor_is_a_straight_line_in_logarithms():
    at = costs(4)
    found = fit(at, 7.0 * at**-0.05).law
    assert pytest.approx(0, abs=5e-3) == found.E
    assert found.alpha == pytest.approx(0.05, rel=5e-3)


def test_the_cost_of_a_loss_is_the_laws_inverse_and_infinite_at_the_floor():
    at = costs(3)
    assert LAW.cost(LAW.loss(at)) == pytest.approx(at, rel=1e-9)
    assert LAW.cost([1.6, 1.5]).tolist() == [math.inf, math.inf]


def test_one_wild_run_of_many_barely_moves_the_law():
    at = costs(9)
    wild = LAW.loss(at)
    wild[4] *= 1.05
    exact, robust = LAW.loss(at), fit(at, wild).law.loss(at)
    squared = fit(at, wild, huber=1.0).law.loss(at)
    assert np.abs(robust / exact - 1).max() < 0.3 * np.abs(squared / exact - 1).max()


def test_a_gain_of_a_third_is_a_third_at_every_rung_and_holds():
    at = costs(5)
    gain = efficiency_gain(fit(at, LAW.loss(at)), at, LAW.loss(at * 4 / 3))
    assert gain.values == pytest.approx(np.full(5, 4 / 3), rel=1e-3)
    assert gain.per_decade == pytest.approx(1, abs=1e-3)
    assert gain.trend is Trend.HOLDS


@pytest.mark.parametrize(
    ("per_decade", "trend"), [(1.3, Trend.RISES), (0.75, Trend.FALLS), (1.0, Trend.HOLDS)]
)
def test_the_trend_is_told_through_a_little_noise(per_decade, trend):
    verdict = compare(single({"idea": Idea(1.2, per_decade)}, rungs=6, noise=0.001))
    gain = verdict.column("flops", ONLY_LOSS).gains["idea"]
    assert gain.trend is trend
    assert gain.per_decade == pytest.approx(per_decade, rel=0.1)


def test_much_noise_on_few_rungs_is_too_little_to_say():
    verdict = compare(single({"idea": Idea(1.2)}, rungs=4, noise=0.01))
    gain = verdict.column("flops", ONLY_LOSS).gains["idea"]
    assert gain.trend is Trend.UNKNOWN
    assert gain.why == "too noisy for so few"


def test_a_candidate_of_two_rungs_has_no_trend():
    at = costs(5)
    gain = efficiency_gain(fit(at, LAW.loss(at)), at[:2], LAW.loss(at[:2] * 1.2))
    assert (gain.trend, gain.why) == (Trend.UNKNOWN, "2 rungs only")
    assert gain.values == pytest.approx([1.2, 1.2], rel=1e-3)


def test_two_rungs_of_a_baseline_are_refused():
    with pytest.raises(TooFewRungs, match="2 rungs cannot show"):
        fit([1e18, 1e19], [3.0, 2.5])


def test_three_rungs_give_a_law_but_no_interval():
    at = costs(3)
    found = fit(at, LAW.loss(at))
    assert pytest.approx(1.6, rel=1e-3) == found.law.E
    assert all(math.isnan(bounds.low) for bounds in found.intervals.values())
    assert efficiency_gain(found, at, LAW.loss(at)).trend is Trend.UNKNOWN


def test_a_loss_at_or_under_the_floor_has_no_gain():
    at = costs(5)
    found = fit(at, LAW.loss(at))
    gain = efficiency_gain(found, at, [3.0, 2.5, 2.0, 1.7, 1.55])
    assert gain.undefined.tolist() == [False, False, False, False, True]
    assert gain.trend is Trend.UNDEFINED


def test_a_gain_far_beyond_the_baselines_rungs_is_marked():
    at = costs(5)
    gain = efficiency_gain(fit(at, LAW.loss(at)), at, LAW.loss(at * 3))
    assert gain.extrapolated.tolist() == [False, False, False, False, True]


def test_the_intervals_of_known_noise_are_narrower_than_those_of_four_rungs_alone():
    rng, at = np.random.default_rng(5), costs(4)
    measured = losses(at, Idea(), 0.002, rng)
    alone, known = fit(at, measured), fit(at, measured, noise=Noise(0.002, math.inf))
    wide, narrow = alone.intervals["E"], known.intervals["E"]
    assert known.law == alone.law
    assert narrow.high - narrow.low < wide.high - wide.low


@pytest.mark.parametrize("bad", [[1.0, 2.0, -1.0], [1.0, 2.0, math.nan], [1.0, 2.0, math.inf]])
def test_what_is_no_positive_number_is_refused(bad):
    with pytest.raises(ValueError, match="give positive numbers"):
        fit(bad, [3.0, 2.0, 1.0])
    with pytest.raises(ValueError, match="give positive numbers"):
        fit([1.0, 2.0, 3.0], bad)


def covered(rungs: int, noise: float, draws: int, redraws: int) -> float:
    """Share of draws in which the largest rung's interval holds the true gain."""
    hits = 0
    for seed in range(draws):
        runs = single({"idea": Idea(1.3)}, rungs=rungs, noise=noise, seed=seed)
        gain = compare(runs, CompareConfig(draws=redraws)).column("flops", ONLY_LOSS).gains["idea"]
        hits += 1.3 in gain.intervals[-1]
    return hits / draws


def test_a_known_gain_is_in_its_interval_in_at_least_18_of_20_draws():
    assert covered(5, 0.002, draws=20, redraws=200) >= 0.9


@pytest.mark.slow
@pytest.mark.parametrize("rungs", [4, 5, 6])
@pytest.mark.parametrize("noise", [0.001, 0.005])
def test_a_known_gain_is_in_its_interval_in_at_least_90_of_100_draws(rungs, noise):
    assert covered(rungs, noise, draws=100, redraws=400) >= 0.9
