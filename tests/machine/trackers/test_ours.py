"""Copies of the metrics, and what is said where a tracker is missing."""

from __future__ import annotations

import importlib.util

import pytest

from munro.machine.run.tracking import TrackingUnavailable, check, open_trackers

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

HAS_TENSORBOARD = importlib.util.find_spec("tensorboard") is not None
HAS_WANDB = importlib.util.find_spec("wandb") is not None


@pytest.mark.skipif(not HAS_TENSORBOARD, reason="needs the extra tensorboard")
def test_tensorboard_reads_back_the_numbers_and_a_resumed_run_overwrites(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for first, last, value in ((1, 4, 0.25), (3, 5, 0.75)):
        (tracker,) = open_trackers(["tensorboard"], tmp_path, config={}, first_step=first)
        for step in range(first, last + 1):
            tracker.log(step, {"reward/total": value, "event": ["x"], "policy/k": None})
        tracker.close()

    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert events.Tags()["scalars"] == ["reward/total"]
    seen = [(point.step, point.value) for point in events.Scalars("reward/total")]
    assert seen == [(1, 0.25), (2, 0.25), (3, 0.75), (4, 0.75), (5, 0.75)]


@pytest.mark.skipif(HAS_WANDB, reason="wandb is installed")
def test_a_tracker_that_is_not_installed_is_refused_with_the_command_that_installs_it(tmp_path):
    with pytest.raises(TrackingUnavailable, match=r"pip install 'munro\[wandb\]'"):
        check(["wandb"])
    with pytest.raises(TrackingUnavailable, match="wandb"):
        open_trackers(["wandb"], tmp_path, config={})


@pytest.mark.skipif(not HAS_WANDB, reason="needs the extra wandb")
def test_a_resumed_run_goes_on_under_its_wandb_id(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    ids = []
    for step in (1, 2):
        (tracker,) = open_trackers(["wandb"], tmp_path, config={"seed": 1})
        tracker.log(step, {"reward/total": 0.5})
        tracker.close()
        ids.append((tmp_path / "wandb.id").read_text())
    assert ids[0] == ids[1]


def test_no_trackers_are_none(tmp_path):
    assert open_trackers([], tmp_path, config={}) == []
