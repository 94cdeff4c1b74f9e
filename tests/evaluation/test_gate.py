"""Rules with three answers, at the rates that they promise; and rules that say nothing."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from benchmarks.evaluation import gates
from benchmarks.evaluation.gates import model, rules, trials, worse
from munro.evaluation.config import GateConfig
from munro.evaluation.gate import Verdict, decide, front, middling
from munro.evaluation.joined import joined
from munro.evaluation.statistics import pass_at_1
from munro.evaluation.types import BadResults
from tests.evaluation.kept import kept

PASS, FAIL, CANNOT_TELL = Verdict.PASS, Verdict.FAIL, Verdict.CANNOT_TELL


def gate(*rules):
    return GateConfig.model_validate({"rules": list(rules)})


def at_least(bound, **more):
    return {"kind": "at_least", "figure": "sums/pass_rate", "bound": bound} | more


@pytest.mark.parametrize(("bound", "verdict"), [(0.8, PASS), (0.97, FAIL), (0.9, CANNOT_TELL)])
def test_a_bound_inside_the_interval_cannot_be_told(tmp_path, bound, verdict):
    results = kept(tmp_path, [[n % 100 >= 10] for n in range(200)])
    told, (ruling,) = decide(gate(at_least(bound)), results)
    assert told is ruling.verdict is verdict
    assert (told.exit_status, str(told)) == {
        PASS: (0, "pass"), FAIL: (1, "fail"), CANNOT_TELL: (3, "cannot tell"),
    }[verdict]  # fmt: skip


def test_at_most_looks_at_the_high_end(tmp_path):
    results = kept(tmp_path, [[0]] * 99 + [[1]], parts=lambda n: {"safe/unsafe": float(n == 99)})
    of = {"kind": "at_most", "figure": "sums/safe/unsafe"}
    for bound, verdict in ((0.08, PASS), (0.02, CANNOT_TELL), (0.001, FAIL)):
        assert decide(gate(of | {"bound": bound}), results)[0] is verdict


def test_as_many_tasks_as_it_says_decide_four_times_in_five(tmp_path):
    rate, bound = 0.9, 0.86
    _, (ruling,) = decide(
        gate(at_least(bound)), kept(tmp_path / "few", [[n % 10 > 0] for n in range(200)])
    )
    assert ruling.verdict is CANNOT_TELL
    assert f"with 200 tasks; about {ruling.would_decide} would decide" in str(ruling)
    rng = np.random.default_rng(1)
    draws = [rng.random((ruling.would_decide, 1)) < rate for _ in range(200)]
    assert 0.7 < np.mean([pass_at_1(passed).low >= bound for passed in draws]) < 0.93


def test_at_its_very_bound_no_number_is_sure_to_decide(tmp_path):
    _, (ruling,) = decide(gate(at_least(0.5)), kept(tmp_path, [[1], [0]] * 20))
    assert ruling.would_decide is None
    assert "no number of tasks is sure to decide" in str(ruling)


def test_no_worse_is_about_the_difference_and_its_margin(tmp_path):
    rng = np.random.default_rng(3)
    rate_N = rng.beta(1, 1, size=300)
    before, same, worse = (
        kept(tmp_path / name, rng.random((300, 8)) < rate_N[:, None] * share)
        for name, share in (("before", 1), ("same", 1), ("worse", 0.8))
    )
    rule = {"kind": "no_worse", "figure": "sums/pass_rate", "by": 0.05}
    assert decide(gate(rule), same, before)[0] is PASS
    assert decide(gate(rule), worse, before)[0] is FAIL
    assert decide(gate(rule | {"by": 0.0}), same, before)[0] is CANNOT_TELL
    # the verdicts of a gate: one that fails is enough, and else one that cannot tell
    assert decide(gate(rule, rule | {"by": 0.0}), same, before)[0] is CANNOT_TELL
    assert decide(gate(rule, at_least(0.99)), same, before)[0] is FAIL


def test_the_hardest_see_what_easy_tasks_hide(tmp_path):
    rng = np.random.default_rng(0)
    rate_N = np.array([1.0] * 900 + [0.5] * 100)
    lost_N = np.where(rate_N < 1, 0.35, 1.0)
    before, after = (
        kept(tmp_path / name, rng.random((1000, 4)) < of[:, None])
        for name, of in (("before", rate_N), ("after", lost_N))
    )
    plain = {"kind": "no_worse", "figure": "sums/pass_rate", "by": 0.02}
    assert decide(gate(plain), after, before)[0] is not FAIL
    told, (ruling,) = decide(gate(plain | {"kind": "hardest"}), after, before)
    assert told is FAIL
    assert ruling.found.mean == pytest.approx(-0.15, abs=0.05)


def test_weights_treat_both_models_alike():
    a, b = np.array([[1, 1], [1, 0], [0, 0]]), np.array([[1, 1], [1, 1], [0, 1]])
    assert middling(a, b) == pytest.approx([0, 3 / 16, 3 / 16])
    assert (middling(a, b) == middling(b, a)).all()
    with pytest.raises(BadResults, match="about verdicts"):
        middling(a * 0.5, b)


def test_a_front_is_what_nothing_beats():
    assert front(np.array([[1, 0], [0, 1], [0.5, 0.5], [0, 0], [0.4, 0.5]])) == [0, 1, 2]


def test_a_front_of_stored_results(tmp_path):
    rng = np.random.default_rng(0)

    def of(name, passes, length):
        rate_N = np.random.default_rng(9).beta(2, 2, size=200) ** (1 / passes)
        return kept(
            tmp_path / name,
            rng.random((200, 4)) < rate_N[:, None],
            num_tokens=lambda n: length + n % 3,
        )

    for number, (passes, length) in enumerate([(1, 10), (2, 20), (3, 30), (1, 40)]):
        of(f"stored-{number}", passes, length)
    rule = {
        "kind": "front",
        "figures": ["sums/pass_rate", "-sums/num_tokens"],
        "results": ["stored-*"],
        "by": 0.05,
    }
    told, rulings = decide(gate(rule), of("good", 3, 10), home=tmp_path)
    assert told is PASS
    assert all("on a front of 3" in str(ruling) for ruling in rulings)
    assert decide(gate(rule), of("long", 3, 35), home=tmp_path)[0] is FAIL
    assert decide(gate(rule), of("weak", 0.7, 10), home=tmp_path)[0] is FAIL


def test_false_alarms_are_few_and_a_drop_is_found(monkeypatch):
    """Few trials of what `benchmarks/evaluation/gates.py` does 200 times."""
    monkeypatch.setattr(gates, "STORED", 3)
    draw = model(200, 4)
    asked = rules(float(np.mean([draw(np.random.default_rng(n)).mean() for n in range(50)])))
    alike, lost = trials(draw, draw, 2, asked), trials(draw, worse(draw, 10), 2, asked)
    assert all(told[FAIL] == 0 for told in alike.values())
    for kind in ("at_least", "no_worse", "hardest", "front"):
        assert lost[kind][FAIL] == 2


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ({"figure": "sums/nothing"}, r"no figure 'sums/nothing'. Of sums there are: pass_rate"),
        ({"figure": "code/pass_rate"}, r"write ENTRY/FIGURE, with an entry of sums"),
        ({"figure": "pass_rate"}, r"write ENTRY/FIGURE"),
    ],
)
def test_a_figure_that_is_not_there_is_told(tmp_path, rule, told):
    with pytest.raises(BadResults, match=told):
        decide(gate(at_least(0.5) | rule), kept(tmp_path, [[1], [0]]))


def test_one_models_results_may_lie_in_several_folders(tmp_path):
    def of(name, entry, rate, model="m"):
        results = kept(tmp_path / name, [[1] * rate + [0] * (4 - rate)] * 60, entry=entry)
        results.begin({"model": {"name": model}, "entries": {entry: {"tasks": 60, "runs": 4}}})
        return tmp_path / name

    now, before = (of("a1", "sums", 3), of("a2", "words", 2)), (of("b", "sums", 2),)
    rules = gate(
        {"kind": "no_worse", "figure": "sums/pass_rate"},
        {"kind": "at_least", "figure": "words/pass_rate", "bound": 0.3},
    )
    assert decide(rules, joined(now), joined(before))[0] is PASS
    with pytest.raises(BadResults, match=r"a1 and .*c both have the entry sums"):
        joined((*now, of("c", "sums", 1)))
    with pytest.raises(BadResults, match=r"are of different models \(m, other\)"):
        joined((*now, of("d", "code", 1, model="other")))


def test_rules_that_compare_want_something_to_compare_with(tmp_path):
    results = kept(tmp_path / "a", [[1], [1]])
    of = {"kind": "no_worse", "figure": "sums/pass_rate"}
    with pytest.raises(BadResults, match="--before"):
        decide(gate(of), results)
    with pytest.raises(BadResults, match="no hard one to weigh"):
        decide(gate(of | {"kind": "hardest"}), results, kept(tmp_path / "b", [[1], [1]]))
    with pytest.raises(BadResults, match="'sums/x' is not a figure of each attempt"):
        decide(gate(of | {"figure": "sums/x"}), results, kept(tmp_path / "c", [[1], [1]]))
    front_of = {"kind": "front", "figures": ["sums/pass_rate"], "results": ["none-*"]}
    with pytest.raises(BadResults, match=r"0 stored results match none-\* in .* wants 3"):
        decide(gate(front_of), results, home=tmp_path)


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ([], "a gate without .* would let everything pass"),
        ([at_least(0.5), {"kind": "guess"}], "rule 2 of the gate has kind = 'guess': give it one"),
        ([{"figure": "sums/pass_rate", "bound": 1}], "rule 1 of the gate has kind = None"),
        (["at_least"], "rule 1 of the gate has kind = None"),
        ([at_least(0.5, bond=1)], r"rule 1 \(at_least\): unknown key bond. Did you mean bound"),
        ([at_least(0.5, confidence=2)], "confidence"),
        ([at_least("high")], "valid number"),
    ],
)
def test_rules_that_are_none_are_refused(bad, told):
    with pytest.raises(ValidationError, match=told):
        gate(*bad)


def test_stored_results_of_other_questions_are_no_part_of_a_front(tmp_path):
    for name in "abc":
        kept(tmp_path / name, [[1, 0]] * 30)
    kept(tmp_path / "other", [[1]], entry="code")
    (tmp_path / "empty").mkdir()
    rule = {"kind": "front", "figures": ["sums/pass_rate"], "by": 0.5}
    asked = gate(rule | {"results": [f"{tmp_path}/*"]})
    _, (ruling,) = decide(asked, kept(tmp_path / "a2", [[1, 0]] * 30))
    assert ruling.verdict is PASS
    with pytest.raises(BadResults, match=r"2 stored results match .* and have sums"):
        decide(gate(rule | {"results": ["[ab]"]}), kept(tmp_path / "d", [[1]]), home=tmp_path)
