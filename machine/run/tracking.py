"""Metrics for the dashboards that people already have open: TensorBoard and Weights & Biases.

`metrics.jsonl` is the record of a run; what is written here is a copy of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol

from munro.machine.run.files import explained

Name = Literal["tensorboard", "wandb"]


class TrackingUnavailable(Exception):
    """A tracker was asked for that is not installed; the message has the way out."""

    is_sentence = True


class Tracker(Protocol):
    """Where metrics are copied to."""

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Copy the numbers of one step."""
        ...

    def close(self) -> None:
        """Write out what is held back."""
        ...


def check(names: Sequence[str]) -> None:
    """Say before a run starts that a tracker is missing.

    Raises:
        TrackingUnavailable: named in the config, but not installed.
    """
    for name in names:
        if find_spec(name) is None:
            raise TrackingUnavailable(
                f'tracking = ["{name}"] needs the package {name}, which is not installed: '
                f"pip install 'munro[{name}]', or leave it out of tracking."
            )


def open_trackers(
    names: Sequence[Name], folder: Path, *, config: Mapping[str, Any], first_step: int = 1
) -> list[Tracker]:
    """Open the trackers of the run in `folder`.

    Args:
        names: as in the config.
        folder: of the run; its name is the name that dashboards show.
        config: the resolved tree, shown beside the curves.
        first_step: step that will be logged first; TensorBoard hides what a run that is resumed
            had written from there on.

    Raises:
        TrackingUnavailable: as `check`.
    """
    check(names)
    trackers: list[Tracker] = []
    for name in names:
        if name == "tensorboard":
            trackers.append(TensorBoard(folder / "tensorboard", first_step=first_step))
        else:
            trackers.append(WeightsAndBiases(folder, config))
    return trackers


class TensorBoard:
    """Event files under `folder`: `tensorboard --logdir runs` shows every run."""

    def __init__(self, folder: Path, *, first_step: int) -> None:
        # imported here, for it brings torch
        from torch.utils.tensorboard import SummaryWriter

        self._folder = folder
        with explained(folder):
            self._writer: Any = SummaryWriter(str(folder), purge_step=first_step, flush_secs=10)

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        with explained(self._folder):
            for name, value in _numbers(metrics).items():
                self._writer.add_scalar(name, value, step)
            self._writer.flush()

    def close(self) -> None:
        with explained(self._folder):
            self._writer.close()


class WeightsAndBiases:
    """A W&B run that goes on under the same id when ours is resumed.

    What W&B is told by its own environment variables (mode, entity, key) stays with W&B.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        import wandb

        id_file = folder / "wandb.id"
        run_id = id_file.read_text(encoding="utf-8") if id_file.exists() else None
        self._run: Any = wandb.init(
            project="munro",
            name=folder.resolve().name,
            dir=str(folder),
            id=run_id,
            resume="allow",
            config=dict(config),
        )
        with explained(id_file):
            id_file.write_text(str(self._run.id), encoding="utf-8")

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        self._run.log(_numbers(metrics), step=step)

    def close(self) -> None:
        self._run.finish()


def _numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: value
        for name, value in metrics.items()
        if isinstance(value, int | float) and name != "step"
    }
