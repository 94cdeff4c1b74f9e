"""Alpha against Krippendorff's own table, by hand, by its invariances, and its interval's truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from munro.evaluation.agreement import alpha, alpha_interval, kappa_interval

NAN = float("nan")
KRIPPENDORFF = [  # "Computing Krippendorff's Alpha-Reliability" (2011), part C: 4 raters, 12 units
    [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
    [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
]


@pytest.mark.parametrize(
    ("level", "known"), [("nominal", 0.7434), ("ordinal", 0.8154), ("interval", 0.8491)]
)
def test_krippendorffs_own_table(level, known):
    assert alpha(KRIPPENDORFF, level) == pytest.approx(known, abs=5e-5)
    estimate = alpha_interval(KRIPPENDORFF, level)
    assert estimate.low < estimate.mean == alpha(KRIPPENDORFF, level) < estimate.high


def test_by_hand():
    # D_o = 2/8; pooled 5 zeros and 3 ones: D_e = 2 * 15 / (8 * 7); 1 - (1/4) / (15/28) = 8/15
    assert alpha([[0, 1, 1, 0], [0, 1, 0, 0]]) == pytest.approx(8 / 15)


def by_pairs(ratings_RN, level):
    """The definition, pair by pair."""
    units = [[x for x in unit if not np.isnan(x)] for unit in np.transpose(ratings_RN)]
    units = [unit for unit in units if len(unit) > 1]
    pooled = sorted(x for unit in units for x in unit)

    def squared(x, y):
        if level == "nominal":
            return float(x != y)
        if level == "interval":
            return (x - y) ** 2
        low, high = sorted((x, y))
        between = sum(low <= each <= high for each in pooled)
        return (between - (pooled.count(low) + pooled.count(high)) / 2) ** 2 if x != y else 0.0

    def pairs(some):
        return sum(squared(x, y) for x in some for y in some)

    observed = sum(pairs(unit) / (len(unit) - 1) for unit in units) / len(pooled)
    return 1 - observed / (pairs(pooled) / (len(pooled) * (len(pooled) - 1)))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.lists(st.sampled_from([NAN, 0.0, 0.25, 0.5, 2.0]), min_size=3, max_size=3),
        min_size=3,
        max_size=8,
    ),
    st.sampled_from(["nominal", "ordinal", "interval"]),
)
def test_equals_the_definition(units, level):
    table = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 1.0], *units]).T
    assert alpha(table, level) == pytest.approx(by_pairs(table, level))


def test_order_of_raters_and_units_and_the_scale_do_not_matter():
    table = np.array(KRIPPENDORFF)
    for level in ("nominal", "ordinal", "interval"):
        assert alpha(table[::-1, ::-1] * 3 + 7, level) == pytest.approx(alpha(table, level))


def test_what_cannot_agree_is_refused():
    with pytest.raises(ValueError, match="nothing to agree about"):
        alpha([[1, 1, 1], [1, 1, 1]])
    with pytest.raises(ValueError, match="agreement needs 2"):
        alpha([[1, NAN, NAN], [1, 2, 3]])
    with pytest.raises(ValueError, match="give nominal, ordinal, interval"):
        alpha([[1, 2], [1, 2]], "ratio")
    with pytest.raises(ValueError, match="raters x units"):
        alpha([1, 2, 3])


def test_perfect_agreement_is_no_certainty():
    three, many = (alpha_interval([[0, 1, 1] * n, [0, 1, 1] * n]) for n in (1, 30))
    assert three.mean == many.mean == 1
    assert three.low < 0.3
    assert 0.9 < many.low < 1


def test_chance_is_within_the_interval_as_often_as_it_says():
    chosen = np.random.default_rng(1)
    held = 0
    for _ in range(200):
        estimate = alpha_interval(chosen.integers(0, 2, (2, 60)), resamples=200)
        held += estimate.low <= 0 <= estimate.high
    assert held >= 180


def test_units_of_one_cluster_count_together():
    chosen = np.random.default_rng(2)
    one = chosen.integers(0, 2, (2, 12))
    table, clusters = np.repeat(one, 8, axis=1), np.repeat(np.arange(12), 8)
    alone = alpha_interval(table)
    together = alpha_interval(table, "nominal", list(clusters))
    assert together.mean == alone.mean
    assert together.high - together.low > 2 * (alone.high - alone.low)
    everything = alpha_interval(table, "nominal", [0] * 96)
    assert (everything.low, everything.high) == (-1, 1)
    with pytest.raises(ValueError, match="2 clusters for 96 units"):
        alpha_interval(table, "nominal", [0, 1])


def test_a_few_units_at_chance_are_seldom_called_agreement():
    chosen = np.random.default_rng(3)
    called = 0
    for _ in range(200):
        table = chosen.integers(0, 2, (2, 12))
        if len(np.unique(table)) > 1:
            called += alpha_interval(table, resamples=200).low > 0
    assert called <= 10


def test_kappa_by_hand():
    # they agree on 3 of 4; by their habits 1/2 * 3/4 + 1/2 * 1/4 = 1/2
    assert kappa_interval([0, 1, 1, 0], [0, 1, 0, 0]).mean == pytest.approx(0.5)
    # squared differences 0, 1, 1 over 3; of every value with every other 4/3 on average
    assert kappa_interval([0, 1, 2], [0, 2, 1], "interval").mean == pytest.approx(0.5)
    assert kappa_interval([0, 1, 20], [0, 20, 1], "ordinal").mean == pytest.approx(0.5)
    assert kappa_interval([0, 1, NAN, 1, 0], [0, 1, 1, 1, 0]).mean == 1


def test_a_judge_who_sees_a_third_and_invents_nothing_is_above_0_by_kappa_and_below_by_alpha():
    people, judge = np.array([1] * 39 + [0] * 25), np.array([1] * 8 + [0] * 56)
    assert alpha([people, judge]) < 0
    assert kappa_interval(judge, people).low > 0


def test_who_always_says_the_same_tells_nothing():
    with pytest.raises(ValueError, match="always says 1: it tells nothing"):
        kappa_interval([1, 1, 1], [0, 1, 0])


@pytest.mark.parametrize("level", ["nominal", "ordinal"])
def test_chance_is_seldom_called_better_whatever_the_habits(level):
    chosen = np.random.default_rng(4)
    called = 0
    for _ in range(200):
        ours, theirs = chosen.random(50) < 0.3, chosen.random(50) < 0.7
        called += kappa_interval(ours, theirs, level, resamples=200).low > 0
    assert called <= 12


@pytest.mark.parametrize("interval", [kappa_interval, lambda a, b: alpha_interval([a, b])])
def test_no_disagreement_in_a_handful_says_little(interval):
    assert interval([0, 1], [0, 1]).low < 0
    assert 0.5 < interval([0, 1] * 15, [0, 1] * 15).low < 0.9
