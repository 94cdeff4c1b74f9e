"""The failures that are told to a person in one line, without a traceback."""

from __future__ import annotations

from base_model.checkpoint import CheckpointError
from envs.loader import BadEnvironment
from machine.cluster import LearnerLost
from machine.files import RunError
from machine.loading import BadConfig
from machine.publisher import SyncBroken
from machine.tracking import TrackingUnavailable
from rewards.errors import EpisodeError
from rl.controller import NoSignal
from rl.learner import LearnerDiverged
from rl.policy import UnsupportedModel
from rollout.store import StoreError
from rollout.waits import Stalled

SENTENCES: tuple[type[Exception], ...] = (
    BadConfig,
    BadEnvironment,
    CheckpointError,
    EpisodeError,
    LearnerDiverged,
    LearnerLost,
    NoSignal,
    RunError,
    Stalled,
    StoreError,
    SyncBroken,
    TrackingUnavailable,
    UnsupportedModel,
)
