"""Results of runs: what a line may be, how categories weigh, and who overtakes whom."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from munro.base_model.results import BadResults, as_line, columns, read_results, weights_for
from munro.base_model.scaling.comparison import CompareConfig, compare
from tests.base_model.ladders import Idea, ladder, single


def written(tmp_path, *lines):
    file = tmp_path / "results.jsonl"
    file.write_text("".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return file


def test_what_is_written_is_read_again(tmp_path):
    runs = ladder({"idea": Idea(1.3)}, rungs=4)
    file = written(tmp_path, *(as_line(run, tokens=17) for run in runs))
    assert list(read_results(file)) == runs


def test_a_single_loss_without_rung_and_seconds_will_do(tmp_path):
    (run,) = read_results(written(tmp_path, {"name": "a", "flops": 2.5e18, "loss": 1.9}))
    assert (run.rung, run.seconds, dict(run.losses)) == ("2.5e+18", None, {"loss": 1.9})


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("not json", "line 2 is no JSON"),
        ([1], "a line is one JSON object"),
        ({"flops": 1.0, "loss": 1.0}, 'it has no "name"'),
        ({"name": "a", "loss": 1.0}, 'it has no "flops"'),
        ({"name": "a", "flops": -1, "loss": 1.0}, '"flops" is -1: give a number above 0'),
        ({"name": "a", "flops": True, "loss": 1.0}, '"flops" is True'),
        ({"name": "a", "flops": 1.0, "loss": 0}, '"loss" is 0'),
        ({"name": "a", "flops": 1.0}, 'neither "loss" nor "losses"'),
        ({"name": "a", "flops": 1.0, "losses": {}}, 'neither "loss" nor "losses"'),
        ({"name": "a", "flops": 1.0, "losses": {"code": 1.0}}, "do not both have a loss of 'code'"),
        ({"name": "a", "flops": 1.0, "loss": 1.0, "seconds": "x"}, "\"seconds\" is 'x'"),
    ],
    ids=str,
)
def test_a_bad_line_is_named_by_its_number(tmp_path, line, sentence):
    good = {"name": "a", "flops": 1.0, "loss": 1.0}
    text = line if isinstance(line, str) else json.dumps(line)
    file = written(tmp_path, good, "\n", text, "\n")
    with pytest.raises(BadResults, match=re.escape(sentence)) as caught:
        read_results(file)
    assert "line 2" in str(caught.value)


def test_an_empty_file_and_none_at_all_are_sentences(tmp_path):
    with pytest.raises(BadResults, match="holds no run"):
        read_results(written(tmp_path, "\n"))
    with pytest.raises(BadResults, match="cannot read"):
        read_results(tmp_path / "nothing")


def test_the_reports_weights_are_scaled_to_the_categories_at_hand():
    assert weights_for(["code", "math"]) == pytest.approx(
        {"code": 0.5 / 0.675, "math": 0.175 / 0.675}
    )
    assert weights_for(["code", "poems"]) == {"code": 0.5, "poems": 0.5}
    assert weights_for(["code", "math"], {"code": 3, "math": 1}) == {"code": 0.75, "math": 0.25}
    with pytest.raises(BadResults, match="a weight is given for 'poems'"):
        weights_for(["code"], {"poems": 1.0})


def test_a_category_is_the_mean_of_ratios_and_the_target_their_weighted_sum():
    run = replace(ladder({}, rungs=3)[0], losses={"code/a": 1.0, "code/b": 3.0, "math/c": 2.0})
    reference = {"code/a": 2.0, "code/b": 2.0, "math/c": 4.0}
    found = columns([run], reference, {"code": 3, "math": 1})
    assert found["code"] == pytest.approx([(1 / 2 + 3 / 2) / 2 * 2.0])
    assert found["math"] == pytest.approx([2.0])
    assert found["weighted"] == pytest.approx([0.75 * 1.0 + 0.25 * 0.5])


def test_every_category_and_cost_is_compared():
    verdict = compare(ladder({"idea": Idea(1.3)}, noise=0.001))
    assert {(each.cost, each.name) for each in verdict.columns} == {
        (cost, name) for cost in ("flops", "seconds") for name in ("code", "math", "weighted")
    }
    assert verdict.column("flops", "weighted").gains["idea"].values[2] == pytest.approx(1.3, 0.05)
    assert verdict.headline == "weighted"


def test_without_times_there_is_no_gain_in_time_and_it_says_so():
    verdict = compare(single({"idea": Idea(1.3)}))
    assert verdict.costs == ("flops",)
    assert "EG_Time is left out" in verdict.notes[0]


def test_a_candidate_that_overtakes_the_baseline_is_a_certain_rank_flip():
    verdict = compare(single({"tall": Idea(0.7, 1.6)}, noise=0.001))
    (flip,) = verdict.flips
    assert (flip.small, flip.large, flip.certain) == ("baseline", "tall", True)
    assert (flip.from_rung, flip.to_rung) == ("R0", "R4")


def test_two_candidates_that_change_places_are_a_rank_flip():
    verdict = compare(single({"early": Idea(1.6, 0.7), "late": Idea(1.2, 1.2)}, noise=0.0005))
    flips = {(flip.small, flip.large) for flip in verdict.flips}
    assert ("early", "late") in flips
    assert ("baseline", "late") not in flips


def test_candidates_that_keep_their_places_are_none():
    assert compare(single({"a": Idea(1.2), "b": Idea(1.5)}, noise=0.001)).flips == ()


def test_places_that_change_within_the_noise_are_none():
    for seed in range(5):
        runs = single({"a": Idea(1.0), "b": Idea(1.0)}, rungs=4, noise=0.02, seed=seed)
        assert not any(flip.certain for flip in compare(runs).flips)


def test_two_that_are_undefined_at_a_rung_are_not_compared_there():
    runs = single({"a": Idea(1.2), "b": Idea(1.3)}, noise=0.001)
    runs = [
        replace(run, losses={"loss": 1.0})
        if (run.rung, run.name != "baseline") == ("R4", True)
        else run
        for run in runs
    ]
    verdict = compare(runs)
    assert all(gain.undefined[-1] for gain in verdict.columns[0].gains.values())


def test_a_crossing_beyond_the_ladder_is_told_with_its_cost():
    verdict = compare(single({"late": Idea(0.5, 1.3)}, noise=0.0005, rungs=6))
    (flip,) = verdict.flips
    assert (flip.small, flip.large, flip.to_rung) == ("baseline", "late", "")
    # 0.5 * 1.3 ** decades = 1 is met 2.64 decades above 1e18
    assert flip.at_cost == pytest.approx(1e18 * 10**2.64, rel=0.4)


def test_a_loss_under_the_floor_is_noted_with_the_floor():
    runs = single({"idea": Idea(1.3)})
    runs[-1] = replace(runs[-1], losses={"loss": 1.0})
    verdict = compare(runs)
    assert any("undefined at rung R4" in note and "floor E = 1.6" in note for note in verdict.notes)


@pytest.mark.parametrize(
    ("names", "asked", "sentence"),
    [
        (("baseline",), "", "there is no candidate"),
        (("baseline", "idea"), "nobody", "no run is called 'nobody'"),
    ],
)
def test_nothing_to_compare_is_a_sentence(names, asked, sentence):
    runs = [run for run in single({"idea": Idea()}) if run.name in names]
    with pytest.raises(BadResults, match=sentence):
        compare(runs, CompareConfig(baseline=asked))


def test_a_baseline_of_two_rungs_is_a_sentence():
    runs = [run for run in single({"idea": Idea()}) if run.rung in ("R0", "R1")]
    with pytest.raises(BadResults, match="the baseline 'baseline': 2 rungs cannot show"):
        compare(runs)


def test_the_first_line_is_the_baseline_where_none_is_called_so():
    runs = [
        replace(run, name=run.name.replace("baseline", "old")) for run in single({"new": Idea()})
    ]
    assert compare(runs).baseline == "old"
