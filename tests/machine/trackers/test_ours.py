"""Copies of the metrics, and what is said where a tracker is missing."""

from __future__ import annotations

import importlib.util

import pytest

from munro.machine.run.tracking import Trackers, TrackingUnavailable, check

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def needs(name):
    return pytest.mark.skipif(importlib.util.find_spec(name) is None, reason=f"needs {name}")


def opened(names, folder, *, first_step=1, told=None, **config):
    """Trackers that are open, and fail a test that they complain in."""

    def complain(line):
        raise AssertionError(line)

    warn = complain if told is None else told.append
    trackers = Trackers(names, folder, config=config, warn=warn)
    trackers.open(first_step)
    return trackers


@needs("tensorboard")
def test_tensorboard_reads_back_the_numbers_and_a_resumed_run_overwrites(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for first, last, value in ((1, 4, 0.25), (3, 5, 0.75)):
        trackers = opened(["tensorboard"], tmp_path, first_step=first)
        for step in range(first, last + 1):
            trackers.log(step, {"reward/total": value, "event": ["x"], "policy/k": None})
        trackers.close()

    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert events.Tags()["scalars"] == ["reward/total"]
    seen = [(point.step, point.value) for point in events.Scalars("reward/total")]
    assert seen == [(1, 0.25), (2, 0.25), (3, 0.75), (4, 0.75), (5, 0.75)]


@pytest.mark.skipif(importlib.util.find_spec("wandb") is not None, reason="wandb is installed")
def test_a_tracker_that_is_not_installed_is_refused_with_the_command_that_installs_it(tmp_path):
    with pytest.raises(TrackingUnavailable, match=r"pip install 'munro\[wandb\]'"):
        check(["wandb"])
    with pytest.raises(TrackingUnavailable, match="wandb"):
        opened(["wandb"], tmp_path)


def test_names_that_accelerate_alone_knows_are_known_and_so_is_what_they_need():
    for name, package in (("comet_ml", "comet-ml"), ("comet-ml", "comet-ml"), ("aim", "aim")):
        if importlib.util.find_spec(name.replace("-", "_")) is None:
            with pytest.raises(TrackingUnavailable, match=f"pip install {package}, or leave it"):
                check([name])
    with pytest.raises(TrackingUnavailable, match="Did you mean 'swanlab'"):
        check(["swanlap"])


@needs("wandb")
def test_a_resumed_run_goes_on_under_its_wandb_id(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    ids = []
    for step in (1, 2):
        trackers = opened(["wandb"], tmp_path, seed=1)
        trackers.log(step, {"reward/total": 0.5})
        trackers.close()
        ids.append((tmp_path / "wandb.id").read_text())
    assert ids[0] == ids[1]


@needs("mlflow")
def test_a_resumed_run_goes_on_under_its_mlflow_id(tmp_path, monkeypatch):
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    (run := tmp_path / "stem").mkdir()
    for first in (1, 3):
        trackers = opened(["mlflow"], run, first_step=first)
        for step in (first, first + 1):
            trackers.log(step, {"reward/total": step / 4, "pass_rate/trained/sums#2": 0.5})
        trackers.close()
    client = mlflow.MlflowClient()
    (found,) = client.search_runs([client.get_experiment_by_name("munro").experiment_id])
    assert found.info.run_name == "stem"
    points = client.get_metric_history(found.info.run_id, "reward/total")
    assert [(point.step, point.value) for point in points] == [
        (1, 0.25), (2, 0.5), (3, 0.75), (4, 1.0)
    ]  # fmt: skip
    # a name that MLflow would refuse
    assert len(client.get_metric_history(found.info.run_id, "pass_rate/trained/sums_2")) == 4


@needs("trackio")
def test_a_resumed_run_goes_on_by_its_name_in_trackio(tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    (run := tmp_path / "stem").mkdir()
    for first in (1, 2):
        trackers = opened(["trackio"], run, first_step=first, seed=1)
        trackers.log(first, {"reward/total": first / 4})
        trackers.close()
    import trackio

    (found,) = trackio.Api().runs("munro")
    assert found.name == "stem"


def test_no_trackers_are_none(tmp_path):
    trackers = opened([], tmp_path)
    trackers.log(1, {"reward/total": 0.5})
    trackers.close()
