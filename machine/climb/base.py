"""Which model a climb starts from: a folder the user names, or the embedded base."""

from __future__ import annotations

from pathlib import Path

from munro.base_model.checkpoint import Checkpoint
from munro.base_model.small.quickstart import build_base
from munro.base_model.training.pretrain import StepMetrics
from munro.envs.arithmetic import is_held_out
from munro.machine.config import RunConfig
from munro.machine.run.console import Console


def model_folder(config: RunConfig, console: Console) -> Path:
    """The checkpoint to start from, trained first where it is the embedded base and not cached.

    Raises:
        CheckpointError: the folder is missing or incomplete.
    """
    if config.model.path:
        # processes on other nodes, and a later replay, stand in other folders
        return Checkpoint(Path(config.model.path).expanduser().absolute()).look().path
    console.phase("base model")
    total = config.base.training.num_steps

    def show(metrics: StepMetrics) -> None:
        console.pretrain(metrics.step, total, metrics.loss)

    return build_base(config.base, is_held_out=is_held_out, on_progress=show).path
