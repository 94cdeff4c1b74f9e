"""What is planted is found: preference, left bias, length, agreement, and raters to look at."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
from click.testing import CliRunner

from munro.evaluation.sides.export import HELPSTEER3, TRL, write_preferences
from munro.evaluation.sides.ratings import read_ratings
from munro.evaluation.sides.report import lines, report_of
from munro.evaluation.sides.types import BadSides, Kind
from munro.machine.cli.main import munro
from munro.rewards.preference.comparisons import read_comparisons
from tests.evaluation.sides.studies import clicked, honest, rate, side, study, texts


def noisy(seed, preference, *, left=0.0, bias=None):
    """A simulated rater: what B is worth, what the left side is, and noise of his own."""
    chosen = random.Random(seed)

    def choose(rater, task, kind, b_left):
        score = -1.0 if kind is Kind.CHECK else preference + chosen.gauss(0, 0.5)
        score += (left if b_left else -left) + (bias or {}).get(rater, 0.0)
        return clicked(score, b_left)

    return choose


def reported(folder):
    return report_of(read_ratings(folder))


def test_a_scale_by_hand(tmp_path):
    """Everybody clicks 6 wherever B is on the right and 2 where it is on the left: B by one."""
    folder = study(tmp_path, 6, criteria=())
    rate(folder, honest(1.0))
    report = reported(folder)
    assert report.preference.mean == pytest.approx(1.0)
    assert report.left.mean == pytest.approx(0.0, abs=1e-12)
    assert (report.win.mean, report.tie.mean, report.loss.mean) == pytest.approx((1, 0, 0))
    assert (report.rated, report.ratings, report.unrated) == (6, 18, 0)


def test_who_goes_by_the_side_alone_prefers_neither(tmp_path):
    folder = study(tmp_path, 12, criteria=())
    rate(folder, lambda rater, task, kind, b_left: 3)  # slightly to the left, for ever
    report = reported(folder)
    assert report.preference.mean == pytest.approx(0, abs=1e-12)
    assert report.left.mean == pytest.approx(0.5)
    assert all("gives 3 in 100% of 12 pairs" in one.to_look_at[0] for one in report.raters)


def test_a_planted_preference_and_a_planted_left_bias_are_told_apart(tmp_path):
    folder = study(tmp_path, 150, raters=tuple("abcdef"), criteria=())
    rate(folder, noisy(1, 0.3, left=0.2))
    report = reported(folder)
    assert report.preference.low < 0.3 < report.preference.high
    assert report.preference.low > 0
    assert report.left.low < 0.2 < report.left.high
    assert report.left.low > 0


def test_the_left_bias_is_out_of_the_estimate_where_ratings_are_missing_too(tmp_path):
    """Two raters who lean wholly to the left, one of whom stopped after pairs with B there."""
    folder = study(tmp_path, 40, raters=("a", "b"), per_pair=2, criteria=())
    rate(folder, lambda rater, task, kind, b_left: clicked(1.0 if b_left else -1.0, b_left))
    found = read_ratings(folder)
    some = tuple(one for one in found.ratings if one.rater == "a" or one.b_left)
    report = report_of(type(found)(**{**_fields(found), "ratings": some}))
    assert np.mean([one.score for one in some]) > 0.3
    assert report.preference.mean == pytest.approx(0, abs=1e-12)
    assert report.left.mean == pytest.approx(1.0)


def _fields(found):
    return {name: getattr(found, name) for name in type(found).__dataclass_fields__}


def test_raters_who_differ_make_the_interval_wide(tmp_path):
    (tmp_path / "same").mkdir()
    (tmp_path / "apart").mkdir()
    widths = []
    for name, bias in (("same", {}), ("apart", {"a": 0.5, "b": -0.5, "c": 0.2, "d": -0.2})):
        folder = study(tmp_path / name, 60, raters=tuple("abcd"), criteria=())
        rate(folder, noisy(3, 0.2, bias=bias))
        found = reported(folder).preference
        widths.append(found.high - found.low)
    assert widths[1] > 2 * widths[0]


def test_one_rater_says_nothing_of_others(tmp_path):
    folder = study(tmp_path, 12, raters=("a",), per_pair=1, criteria=())
    rate(folder, honest())
    told = dict(lines(reported(folder)))
    assert "(no interval)" in told["preference"]
    assert "of one rater, nothing follows" in told["preference"]
    assert "agreement needs 2" in told["alpha, nominal"]
    assert reported(folder).as_json()["preference"]["low"] is None


def test_equal_answers_count_as_ties(tmp_path):
    a, b = texts(12, 1), texts(12, 2)
    b[:4] = a[:4]
    folder = study(tmp_path, a=a, b=b, criteria=())
    rate(folder, honest(1.0))
    report = reported(folder)
    assert report.equal == 4
    assert report.preference.mean == pytest.approx(8 / 12)
    assert (report.win.mean, report.tie.mean) == pytest.approx((8 / 12, 4 / 12))
    assert "4 with equal answers, which are ties" in dict(lines(report))["tasks"]


def test_criteria_are_of_the_answers_and_not_of_the_sides(tmp_path):
    folder = study(tmp_path, 12, criteria=("right",))
    rate(folder, honest())
    found = read_ratings(folder)
    graded = [
        type(one)(
            **{name: getattr(one, name) for name in type(one).__dataclass_fields__}
            | {"grades_a": {"right": 2}, "grades_b": {"right": 1}}
        )
        for one in found.ratings
    ]
    (one,) = report_of(type(found)(**{**_fields(found), "ratings": tuple(graded)})).criteria
    assert (one.a.mean, one.b.mean, one.difference.mean) == pytest.approx((2, 1, -1))


def test_a_liking_for_length_is_told(tmp_path):
    chosen = random.Random(5)
    lengths = [chosen.choice((3, 6, 12, 24)) for _ in range(80)]
    b = [" ".join(["cairn"] * length) for length in lengths]
    a = [" ".join(["stone"] * 8) for _ in lengths]
    folder = study(tmp_path, a=a, b=b, raters=tuple("abcd"), criteria=())
    length = {f"t{at}": value for at, value in enumerate(lengths)}

    def choose(rater, task, kind, b_left):
        return clicked(0.4 * np.log2(length[task] / 8) + chosen.gauss(0, 0.5), b_left)

    rate(folder, choose)
    found = reported(folder).per_doubling
    assert found.low > 1.5
    assert "told, not corrected" in dict(lines(reported(folder)))["length"]


def test_raters_to_look_at_are_named_and_the_figure_without_them_is_told(tmp_path):
    folder = study(
        tmp_path, 60, raters=("ann", "bo", "cy", "dee", "eve"), checks=0.1, again=0.15, criteria=()
    )
    good = noisy(1, 0.0)
    per_task = {f"t{at}": random.Random(at).gauss(0.4, 0.6) for at in range(200)}
    chosen = random.Random(2)

    def choose(rater, task, kind, b_left):
        if rater == "bo":  # three for ever
            return 3
        if rater == "dee":  # at random, and fails what is plain
            return clicked(1.0, b_left) if kind is Kind.CHECK else chosen.randint(1, 7)
        if kind is Kind.CHECK:
            return good(rater, task, kind, b_left)
        lean = 0.6 if rater == "eve" else 0.0
        score = per_task[task] + chosen.gauss(0, 0.2) + (lean if b_left else -lean)
        return clicked(score, b_left)

    rate(folder, choose, seconds=lambda rater: 0.2 if rater == "dee" else 40.0)
    report = reported(folder)
    why = {one.name: " | ".join(one.to_look_at) for one in report.raters}
    assert why["ann"] == why["cy"] == ""
    assert "gives 3 in 100%" in why["bo"]
    assert "takes 0.2 s a pair" in why["dee"]
    assert "checks failed" in why["dee"]
    assert "leans to the left by 0." in why["eve"]
    assert report.preference_without is not None
    told = [name for name, _ in lines(report)]
    assert told.count("look at") == sum(len(one.to_look_at) for one in report.raters)
    assert told[-1] == "without these"
    without = report_of(read_ratings(folder), without=["bo", "dee", "eve"])
    assert without.preference.mean == pytest.approx(report.preference_without.mean)
    with pytest.raises(BadSides, match="no rater 'nobody': there are ann, bo"):
        report_of(read_ratings(folder), without=["nobody"])


def test_who_goes_with_nobody_is_named(tmp_path):
    folder = study(tmp_path, 60, raters=tuple("abcd"), per_pair=4, criteria=())
    per_task = {f"t{at}": random.Random(at).gauss(0.0, 0.8) for at in range(60)}
    chosen = random.Random(2)

    def choose(rater, task, kind, b_left):
        return clicked(per_task[task] + chosen.gauss(0, 0.3), b_left)

    rate(
        folder,
        lambda rater, *rest: 1 + chosen.randrange(7) if rater == "d" else choose(rater, *rest),
    )
    why = {one.name: " | ".join(one.to_look_at) for one in reported(folder).raters}
    assert "goes with the others at" in why.pop("d")
    assert not any(why.values())


def test_agreement_is_of_who_is_better_whatever_the_side(tmp_path):
    folder = study(tmp_path, 30, raters=tuple("abc"), criteria=())
    rate(
        folder,
        lambda rater, task, kind, b_left: clicked(1.0 if int(task[1:]) % 2 else -0.5, b_left),
    )
    found = reported(folder).alpha
    assert {one.mean for one in found.values()} == {1.0}


def test_what_people_said_is_read_as_comparisons(tmp_path):
    prompts = [
        [
            {"role": "user", "content": f"Hi {at}"},
            {"role": "assistant", "content": "Hi."},
            {"role": "user", "content": "And?"},
        ]
        for at in range(6)
    ]
    a = side(tmp_path / "a.jsonl", [f"ours {at}" for at in range(6)], prompts=prompts)
    b = side(tmp_path / "b.jsonl", [f"theirs {at}" for at in range(6)], prompts=prompts)
    made = CliRunner().invoke(
        munro, ["sides", "make", str(a), str(b), "--out", str(tmp_path / "s"), "--checks", "0"]
    )
    assert made.exit_code == 0, made.output
    score = {"t0": 1.0, "t1": -1.0, "t2": 0.0, "t3": 0.5, "t4": 1.5, "t5": -0.5}
    rate(tmp_path / "s", lambda rater, task, kind, b_left: clicked(score[task], b_left))
    write_preferences(read_ratings(tmp_path / "s"), tmp_path)
    trl = read_comparisons(tmp_path / TRL)
    assert [one.candidates[0] for one in trl] == [
        "theirs 0",
        "ours 1",
        "theirs 3",
        "theirs 4",
        "ours 5",
    ]
    assert trl[0].context == "user: Hi 0\n\nassistant: Hi.\n\nuser: And?"
    graded = read_comparisons(tmp_path / HELPSTEER3)
    assert len(graded) == 6
    for task, one in enumerate(graded):
        found = dict(zip(one.candidates, one.scores, strict=True))
        margin = found[f"theirs {task}"] - found[f"ours {task}"]
        assert margin == 2 * score[f"t{task}"]
    rows = [json.loads(line) for line in (tmp_path / HELPSTEER3).read_text().splitlines()]
    assert {len(row["individual_preference"]) for row in rows} == {3}
    assert len({row["response1"].split()[0] for row in rows}) == 2  # either comes first


def test_the_command_prints_and_keeps_it(tmp_path):
    folder = study(tmp_path, 12)
    empty = CliRunner().invoke(munro, ["sides", "report", str(folder)])
    assert "nothing of study has been rated yet" in str(empty.exception)
    rate(folder, honest(), raters=["r1", "r2"])
    done = CliRunner().invoke(munro, ["sides", "report", str(folder)])
    assert done.exit_code == 0, done.output
    assert "win/tie/loss" in done.output
    assert "is right" in done.output
    kept = json.loads((folder / "report.json").read_text())
    assert kept["preference"]["mean"] == pytest.approx(0.5)
    plain = CliRunner().invoke(munro, ["sides", "report", str(folder), "--json"])
    assert json.loads(plain.output) == kept
