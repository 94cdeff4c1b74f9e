"""Figures of environments are found by their names alone: in the console, and in the report."""

from __future__ import annotations

import io
import re

from rich.console import Console as Terminal

from munro.machine.report.figures import specify
from munro.machine.run.by_environment import environments, is_of_one
from munro.machine.run.console import Console, Summary

METRICS = {
    "pass_rate/sampled": 0.375,
    "pass_rate/sampled/math": 0.25,
    "pass_rate/sampled/org/tools#2": 0.5,
    "eval/pass_rate": 0.6,
    "eval/pass_rate_low": 0.5,
    "eval/math/pass_rate": 0.6,
    "eval/unseen/pass_rate": 0.125,
    "groups/trained": 2,
    "groups/trained/math": 1,
    "groups/trained/org/tools#2": 1,
    "groups/abandoned/too_hard": 4,
    "groups/abandoned/too_hard/math": 3,
    "groups/abandoned/too_hard/org/tools#2": 1,
    "reward/total": 0.5,
    "reward/total/math": 0.4,
    "reward/math": 0.25,
    "reward/math/math": 0.25,
    "response/ended/answered": 1.0,
    "response/ended/answered/math": 1.0,
}


def test_names_alone_say_what_is_of_one_environment():
    envs = environments(METRICS)
    assert envs == ["math", "org/tools#2", "unseen"]
    own = {name for name in METRICS if is_of_one(name, METRICS.keys(), envs)}
    assert METRICS.keys() - own == {
        "pass_rate/sampled", "eval/pass_rate", "eval/pass_rate_low", "groups/trained",
        "groups/abandoned/too_hard", "reward/total", "reward/math", "response/ended/answered",
    }  # fmt: skip


def test_the_report_draws_each_once_and_takes_none_for_a_part_a_reason_or_an_ending():
    figures = {
        figure["id"]: figure
        for figure in specify({name: [float(of)] * 3 for name, of in METRICS.items()}, targets={})
    }

    def keys(name):
        return [one["key"] for panel in figures[name]["panels"] for one in panel["series"]]

    assert keys("environments") == [
        "pass_rate/sampled/math", "pass_rate/sampled/org/tools#2", "eval/math/pass_rate",
        "eval/unseen/pass_rate", "reward/total/math", "groups/trained/math",
        "groups/trained/org/tools#2",
    ]  # fmt: skip
    assert keys("parts") == ["reward/math"]
    assert keys("abandoned") == ["groups/trained", "groups/abandoned/too_hard"]
    assert keys("episodes") == ["response/ended/answered"]
    alone = {name: [1.0] for name in ("pass_rate/sampled", "groups/trained")}
    assert "environments" not in {figure["id"] for figure in specify(alone, targets={})}


def shown(*, live):
    out = io.StringIO()
    terminal = Terminal(file=out, width=120, force_terminal=live)
    with Console(Summary(run="r", model="m", env="e", engine="v"), 3, terminal=terminal) as console:
        console.step(1, METRICS)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue())


def test_the_console_shows_each_and_counts_what_was_given_up_once():
    assert (
        "reward 0.500  math 0.250 (held-out 0.600)  org/tools#2 0.500  unseen (held-out 0.125)"
        in shown(live=False)
    )
    table = shown(live=True)
    assert "org/tools#2" in table
    assert re.search(r"given up +too hard 4 *\n", table)
