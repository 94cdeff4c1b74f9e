"""Two results over the same tasks: what pairing finds, what flipped, and what is no comparison."""

from __future__ import annotations

import re

import numpy as np
import pytest

from benchmarks.evaluation.intervals import two_models, unpaired
from munro.evaluation.compare import compare
from munro.evaluation.results import Results
from munro.evaluation.statistics import holm, paired
from munro.evaluation.types import AttemptRow, BadResults
from tests.evaluation.kept import kept


def two_of_a_hard_set(rng):
    """198 questions x 4: most are known or not to both, and B gains a little on the others."""
    rate_N = rng.beta(0.4, 0.4, size=198)
    better_N = np.clip(rate_N + 0.28 * rate_N * (1 - rate_N), 0, 1)
    return tuple(rng.random((198, 4)) < rate[:, None] for rate in (rate_N, better_N))


def test_pairing_finds_what_two_intervals_do_not(tmp_path):
    a, b = two_of_a_hard_set(np.random.default_rng(4))
    (found,) = compare([kept(tmp_path / "a", a), kept(tmp_path / "b", b)])
    assert unpaired(a, b).p > 0.1
    assert found.before.high > found.after.low
    assert found.difference.low > 0
    assert found.p < 0.05
    assert found.is_significant


def test_how_often_it_does_and_that_it_holds_the_difference():
    found = two_models(100)
    assert found["paired"] > found["unpaired"] + 0.4
    assert found["alarms"] <= 0.07
    assert found["paired_holds"] >= 0.92


def test_the_difference_is_that_of_the_means_and_p_goes_with_the_interval():
    rng = np.random.default_rng(0)
    for _ in range(50):
        a, b = rng.random((30, 4)) < 0.5, rng.random((30, 2)) < 0.6
        found = paired(a, b)
        assert found.mean == pytest.approx(b.mean() - a.mean())
        assert (found.p < 0.05) == (not found.low <= 0 <= found.high)


def test_clusters_widen_a_difference_and_one_of_them_says_nothing():
    a, b = np.zeros((40, 1)), np.repeat([[1.0], [0.0]], 20, axis=0)
    alone, in_texts = paired(a, b), paired(a, b, [n // 10 for n in range(40)])
    assert in_texts.high - in_texts.low > 2 * (alone.high - alone.low)
    assert paired(a, b, ["one"] * 40).low == -1


def test_a_few_tasks_on_which_both_agree_prove_little():
    found = paired(np.ones((3, 4)), np.ones((3, 4)))
    assert (found.mean, found.p) == (0, 1)
    assert found.low < -0.5


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1, 1]


def test_three_results_are_corrected_together_and_told_apart_by_their_paths(tmp_path):
    rng = np.random.default_rng(2)
    a, b = two_of_a_hard_set(rng)
    results = [kept(tmp_path / x / "evals", v) for x, v in (("a", a), ("b", b), ("c", a))]
    found = compare(results)
    assert [(one.a, one.b) for one in found] == [("a/evals", "b/evals"), ("a/evals", "c/evals")]
    assert found[0].p == pytest.approx(2 * found[0].difference.p)


def test_what_flipped_is_named_the_widest_first(tmp_path):
    a = kept(tmp_path / "a", [[1, 1], [0, 0], [1, 0], [1, 1]])
    b = kept(tmp_path / "b", [[1, 1], [1, 1], [0, 0], [1, 1]])
    (found,) = compare([a, b])
    assert [(flip.task, flip.before, flip.after) for flip in found.flips] == [
        ("t0001", 0, 1),
        ("t0002", 0.5, 0),
    ]


def test_parts_are_compared_too_and_a_missing_one_is_told(tmp_path):
    a = kept(tmp_path / "a", [[1], [0], [1]], parts=lambda n: {"safe/severity": float(n)})
    b = kept(tmp_path / "b", [[1], [0], [1]], parts=lambda n: {"safe/severity": n + 1.0})
    (found,) = compare([a, b], figure="safe/severity")
    assert found.difference.mean == 1
    assert not found.flips
    with pytest.raises(BadResults, match=r"no figure|no attempt has a figure 'safe/x'. There are"):
        compare([a, b], figure="safe/x")


SAME = {"temperature": 1.0, "top_p": 0.97}


def test_other_tasks_are_refused_by_name(tmp_path):
    a = kept(tmp_path / "a", [[1], [1]], names=["x", "y"])
    b = kept(tmp_path / "b", [[1], [1]], names=["x", "z"])
    with pytest.raises(
        BadResults, match=r"sums: 1 tasks are in .*a alone \(y\); 1 .*b alone \(z\)"
    ):
        compare([a, b])


def test_other_sampling_is_refused_by_key(tmp_path):
    a = kept(tmp_path / "a", [[1], [1]], sampling=SAME)
    b = kept(tmp_path / "b", [[1], [1]], sampling=SAME | {"temperature": 0.6})
    with pytest.raises(BadResults, match=r"sampling.temperature: 1.0 -> 0.6"):
        compare([a, b])


def test_another_environment_is_refused_and_another_template_is_not(tmp_path):
    def of(name, env, template):
        asked = {"env": [{"path": env}], "template": template}
        return kept(tmp_path / name, [[1], [0]], sampling=SAME, asked=asked)

    a, b, c = of("a", "sums", "chat"), of("b", "code", "chat"), of("c", "sums", "r1_zero")
    with pytest.raises(BadResults, match=re.escape("env: [{'path': 'sums'}] -> [{'path': 'code'")):
        compare([a, b])
    assert len(compare([a, c])) == 1


def test_an_entry_that_one_of_them_lacks_is_told(tmp_path):
    a, b = kept(tmp_path / "a", [[1]]), kept(tmp_path / "b", [[1]], entry="code")
    with pytest.raises(BadResults, match=r"b has no entry sums, which .*a has: .* --entry"):
        compare([a, b])
    with pytest.raises(BadResults, match=r"no entry 'rope'. There are: sums"):
        compare([a, a], entry="rope")


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"task": "t1", "run": 0, "passed": True}, r"1 of 4 attempts of sums are missing"),
        ({"task": "t1", "run": 1, "passed": False, "failed": "judge away"}, r"2 of 4 .* 1 of them"),
    ],
)
def test_a_task_with_an_answer_missing_is_no_whole_result(tmp_path, row, told):
    whole = kept(tmp_path / "a", [[1, 1], [0, 0]], names=["t0", "t1"])
    part = kept(tmp_path / "b", [[1, 1]], names=["t0"])
    part.add([AttemptRow(entry="sums", seed=0, reward=1, **row)])
    with pytest.raises(BadResults, match=told):
        compare([whole, part])


def test_half_of_what_was_asked_is_no_whole_result(tmp_path):
    half = kept(tmp_path / "a", [[1, 1]] * 3, asked={"tasks": 6})
    with pytest.raises(BadResults, match="6 of 12 attempts of sums are missing"):
        half.require_whole()


def test_what_is_not_there_is_told(tmp_path):
    with pytest.raises(BadResults, match="no such folder"):
        compare([Results(tmp_path / "a"), Results(tmp_path / "b")])
    (tmp_path / "c").mkdir()
    with pytest.raises(BadResults, match="no attempt was kept"):
        Results(tmp_path / "c").require_whole()
