"""A climb keeps the checkpoint of its best evaluation, whatever comes after it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from munro.machine.climb.keeping import Keeper
from munro.machine.config import RunConfig
from munro.machine.run.folder import RunFolder
from munro.rl.clip import Clip
from munro.rl.state import ClimbState

CONFIG = {"num_steps": 100, "env": "arithmetic", "eval": {"every_steps": 1}}


class Learner:
    def save(self, folder, provenance, *, wait, export):
        Path(folder).mkdir(parents=True)

    def saving(self):
        return ""


@pytest.fixture
def climbed(tmp_path):
    """Logs lower ends of evaluations step by step, saves every fourth one; what is left at last."""

    def of(lows, own=(), **checkpoint):
        config = RunConfig.model_validate(
            CONFIG | {"checkpoint": {"keep": 1, "every_steps": 4} | checkpoint}
        )
        run = RunFolder(tmp_path / "run")
        run.begin({}, seed=0, provenance={})
        quiet = SimpleNamespace(step=lambda *_: None, phase=lambda *_: None, note=lambda *_: None)
        keeper = Keeper(
            run,
            config,
            quiet,
            SimpleNamespace(requested=False),
            Learner(),
            SimpleNamespace(),
            dict,
            SimpleNamespace(),
            SimpleNamespace(),
            SimpleNamespace(due=lambda state: None, climbs_with=lambda: config),
            "base",
            state := ClimbState(clip=Clip()),
            SimpleNamespace(log=lambda *_: None),
        )
        for step, low in enumerate(lows):
            state = replace(state, step=step)
            figures = {"eval/pass_rate": low + 0.1, "eval/pass_rate_low": low}
            if own:
                figures["eval/math/pass_rate_low"] = own[step]
            keeper.log(state, figures)
            keeper.save_if_due(state)
        keeper.save(state)
        names = sorted(path.name for path in run.checkpoints.iterdir())
        best = run.checkpoints / "best"
        return names, best.resolve().name if best.is_symlink() else ""

    return of


LOWS = [0.1, 0.2, 0.7, 0.3, 0.4, 0.5]


def test_the_best_is_saved_though_none_was_due_and_outlives_the_newest(climbed):
    assert climbed(LOWS) == (["best", "step-000002", "step-000005"], "step-000002")


def test_where_nobody_asks_for_it_the_newest_alone_are_kept(climbed):
    assert climbed(LOWS, best="") == (["step-000005"], "")


def test_a_better_one_takes_its_place(climbed):
    assert climbed([*LOWS, 0.8, 0.75]) == (["best", "step-000006", "step-000007"], "step-000006")


def test_after_a_collapse_the_best_is_the_one_before_it(climbed):
    collapsed = [0.2, 0.5, 0.6, 0.75, 0.7, 0.1, *[0.0] * 30]
    names, best = climbed(collapsed)
    assert (names, best) == (["best", "step-000003", "step-000035"], "step-000003")


def test_one_environment_s_figure_may_decide(climbed):
    own = [0.0, 0.9, 0.1, 0.2, 0.3, 0.4]
    assert climbed(LOWS, own, best="eval/math/pass_rate")[1] == "step-000001"
