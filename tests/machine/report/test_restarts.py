"""A climb's page and its picture show where it was distilled, and onto which base."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from munro.machine.report.report import save_picture, write_report
from munro.machine.report.restarts import segments, sentences
from munro.machine.run.restarts import Restart, plain
from tests.machine.builders import make_run


def made(step, base="bases/one", **fields):
    return Restart(
        step=step,
        cause="every 10 steps",
        base=base,
        first_step=step - 4,
        last_step=step,
        checkpoint=f"distilled/step-{step:06d}",
        state="{}",
        **fields,
    )


def test_a_climb_that_was_never_distilled_has_one_plain_curve():
    assert segments((), "bases/one") == []


def test_restarts_onto_the_same_base_keep_their_colour_and_need_no_name():
    found = segments((made(10), made(20)), "bases/one")
    assert [piece["after"] for piece in found] == [-1, 10, 20]
    assert {(piece["tone"], piece["base"]) for piece in found} == {("a", "")}


def test_every_base_has_a_colour_and_its_folders_name():
    found = segments((made(10), made(20, "bases/two"), made(30, "bases/two")), "bases/one")
    assert [piece["base"] for piece in found] == ["one", "one", "two", "two"]
    assert [piece["tone"] for piece in found] == ["a", "a", "c", "c"]


def test_bases_of_the_same_name_are_told_in_full():
    found = segments((made(10, "b/model"),), "a/model")
    assert [piece["base"] for piece in found] == ["a/model", "b/model"]


def test_a_sentence_tells_what_was_distilled_and_what_became_of_the_policy():
    lines = [
        {"step": 10, "eval/pass_rate": 0.6, "pass_rate/sampled": 0.55, "policy/entropy": 0.05},
        {"step": 11, "restart/pass_rate": 0.59, "pass_rate/sampled": 0.5, "policy/entropy": 0.2},
    ]
    assert sentences((made(10),), lines) == [
        "★ step 10 (every 10 steps): traces of steps 6 to 10, onto bases/one; held-out pass rate "
        "0.60 → 0.59; training pass rate 0.55 → 0.50; entropy 0.05 → 0.20."
    ]


def test_a_collapse_says_that_its_traces_are_from_before_it():
    collapsed = replace(made(10, is_collapse=True), cause="collapse: policy/entropy under 0.1")
    (said,) = sentences((collapsed,), [])
    assert "traces of steps 6 to 10, from before it, onto bases/one" in said


@pytest.fixture
def run(tmp_path):
    run = make_run(tmp_path / "stem")
    info = run.read_info()
    restarts = (plain(made(10)), plain(made(24, "bases/two")))
    run.write_info(replace(info, restarts=restarts))
    return run


def test_the_page_carries_the_segments_and_the_sentences(run):
    page = write_report(run.path).read_text()
    data = json.loads(re.search(r'id="data">(.*?)</script>', page)[1])
    assert [piece["after"] for piece in data["segments"]] == [-1, 10, 24]
    (climb,) = (figure for figure in data["figures"] if figure["id"] == "climb")
    assert climb["panels"][0]["series"][0]["segments"] is True
    assert page.count("★ step ") == 2


def test_the_picture_has_a_star_more_for_every_distillation(run, tmp_path):
    def marks(name):
        return save_picture(run, tmp_path / name).read_text().count("<use")

    with_stars = marks("with.svg")
    run.write_info(replace(run.read_info(), restarts=()))
    assert with_stars == marks("without.svg") + 2
