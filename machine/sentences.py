"""The failures that are told to a person in one line, without a traceback."""

from __future__ import annotations

from base_model.checkpoint import CheckpointError
from envs.loader import BadEnvironment
from machine.files import RunError
from machine.loading import BadConfig
from rewards.errors import EpisodeError

SENTENCES: tuple[type[Exception], ...] = (
    BadConfig,
    BadEnvironment,
    CheckpointError,
    EpisodeError,
    RunError,
)
