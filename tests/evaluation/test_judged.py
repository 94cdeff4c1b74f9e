"""Judges beside people, and comparisons: figures by hand, chance refused, place told apart."""

from __future__ import annotations

import math

import numpy as np
import pytest

from munro.evaluation.agreement import alpha
from munro.evaluation.judges.figures import figures
from munro.evaluation.judges.pairs import figures_by_subset, places_of, share
from munro.rewards.preference.comparison import Comparison

NAN = math.nan


def judged(judge, *ratings, **more):
    count = len(judge)
    raters = [str(at) for at in range(1, len(ratings) + 1)]
    return figures(judge, np.array(ratings), raters=raters, clusters=range(count), **more)


def test_accuracy_recall_and_precision_by_hand():
    found = judged([1, 1, 0, 0, 0, 1], [1, 1, 1, 1, 0, 0])
    assert found.accuracy.mean == pytest.approx(3 / 6)
    assert found.recall.mean == pytest.approx(2 / 4)
    assert found.precision.mean == pytest.approx(2 / 3)
    assert (found.positive, found.commonest) == pytest.approx((4 / 6, 4 / 6))
    assert not found.is_better_than_chance


def test_failures_and_splits_count_nowhere():
    found = judged([1, NAN, 0, 1], [1, 1, 0, 1], [1, 1, 0, 0])
    assert (found.responses, found.judged, found.split) == (4, 2, 1)
    assert found.accuracy.mean == 1
    with pytest.raises(ValueError, match="the judge judged nothing"):
        judged([NAN, NAN], [0, 1])


def test_each_rater_stands_beside_the_others_and_the_judge():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 5, 80) / 4
    near = np.clip(truth + rng.choice([-0.25, 0, 0.25], 80), 0, 1)
    far = rng.permutation(truth)
    found = judged(near, truth, truth, far)
    assert found.level == "ordinal"
    assert found.alpha.mean == pytest.approx(alpha(np.stack([near, truth]), "ordinal"))
    assert found.people.mean == pytest.approx(alpha(np.stack([truth, truth, far]), "ordinal"))
    own, with_judge = found.raters["3"]
    assert own.low < 0.3
    assert with_judge.mean == pytest.approx(alpha(np.stack([near, far]), "ordinal"))
    assert found.accuracy is None
    assert found.is_better_than_chance


def test_only_the_interval_calls_a_judge_better_than_chance():
    called = []
    for seed in range(24):
        people, judge = np.random.default_rng(seed).integers(0, 2, (2, 60))
        called.append(judged(judge, people).is_better_than_chance)
    assert sum(called) <= 3  # 0.6 expected of a fair interval
    assert judged(people, people).is_better_than_chance
    worse = judged(1 - people, people)
    assert worse.is_worse_than_chance
    assert not worse.is_better_than_chance


def test_a_judge_that_always_says_the_same_is_never_better_than_chance():
    assert not judged([1] * 30, [1] * 29 + [0]).is_better_than_chance
    same = judged([1] * 30, [1] * 30)
    assert not same.is_better_than_chance
    assert "always says 1" in same.why_none


def pair(scores=(5, 2), context="c", **more):
    candidates = tuple("abcd"[: len(scores)])
    return Comparison(context=context, candidates=candidates, scores=scores, **more)


def test_pairs_count_once_each_by_subset_ties_of_the_scores_half_and_ties_of_people_nowhere():
    comparisons = [
        pair(context="1", subset="chat"),
        pair(context="2", subset="chat", scores=(2, 5)),
        pair(context="3", question="safer"),
        pair(context="4", scores=(3, 3)),
        pair(context="5"),
    ]
    found = figures_by_subset(comparisons, [[0.9, 0.1], [0.9, 0.1], [0.5, 0.5], [1, 0], None])
    assert {name: (of.comparisons, of.accuracy.mean) for name, of in found.items()} == {
        "all": (3, 0.5),
        "chat": (2, 0.5),
        "safer": (1, 0.5),
    }
    assert (found["safer"].accuracy.low, found["safer"].accuracy.high) == (0, 1)


def test_the_best_of_four_takes_all_and_ties_must_stand_together():
    four, ties = pair(scores=(5, 2, 2, 2)), pair(scores=(5, 5, 2), context="d")
    found = figures_by_subset([four, ties], [[0.9, 0.8, 0.1, 0.1], [0.9, 0.5, 0.4]])["all"]
    assert found.accuracy.mean == found.best.mean == 1
    assert found.chance == pytest.approx((1 / 4 + 1 / 3) / 2)
    assert found.together.mean == 0  # 0.9 and 0.5 are further apart than 0.5 and 0.4
    level = figures_by_subset([four], [[0.9, 0.9, 0.1, 0.1]])["all"]
    assert level.accuracy.mean == pytest.approx(2.5 / 3)
    assert level.best.mean == 0


def test_rows_about_one_context_count_together():
    alone, together = share([1, 0] * 20, range(40)), share([1, 0] * 20, [0, 1] * 20)
    assert together.high - together.low > 2 * (alone.high - alone.low)


def test_what_a_place_buys():
    always_first = places_of([([1, 0], [1, 0])] * 30, range(30))
    assert always_first.first.mean == 1
    assert always_first.same.mean == 0
    assert always_first.is_biased
    fair = places_of([([1, 0], [0, 1]), ([0, 1], [1, 0])] * 15, range(30))
    assert (fair.first.mean, fair.same.mean, fair.is_biased) == (0.5, 1.0, False)
    assert places_of([(None, [1, 0])], [0]) is None
