"""Which model a climb starts from: a folder the user names, or the embedded base."""

from __future__ import annotations

from pathlib import Path

from base_model.checkpoint import Checkpoint
from base_model.quickstart import build_base
from envs.arithmetic import is_held_out
from machine.config import RunConfig
from machine.console import Console


def model_folder(config: RunConfig, console: Console) -> Path:
    """The checkpoint to start from, trained first where it is the embedded base and not cached.

    Raises:
        CheckpointError: the folder is missing or incomplete.
    """
    if config.model.path:
        return Checkpoint(Path(config.model.path).expanduser()).require().path
    console.phase("base model")
    built = build_base(config.base, is_held_out=is_held_out, on_progress=console.pretrain)
    return built.path
