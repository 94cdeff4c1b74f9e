"""What crosses to the processes of a run when they start."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from munro.envs.config import EnvConfig
from munro.rewards.config import RewardsConfig
from munro.rewards.judge.config import JudgeConfig
from munro.rollout.adapters import Adapters
from munro.rollout.config import RolloutConfig
from munro.rollout.engine import ALONE, Sharing
from munro.rollout.types import Group, Worth


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What servers and workers of one run must know. Crosses to their processes."""

    model: str
    """Folder of the checkpoint, tokenizer included."""
    rollout: RolloutConfig
    rewards: RewardsConfig
    envs: tuple[EnvConfig, ...]
    """With absolute paths (`munro.envs.loader.resolve_config`)."""
    held_out: tuple[EnvConfig, ...] = ()
    """What is evaluated in their place, likewise; empty for their own held-out tasks."""
    seed: int
    max_context: int
    """Longest token stream; must not be 0."""
    weights: str
    """Folder in which the learner publishes new weights."""
    run: str
    """The run's folder, for `waits/` and `stacks/`."""
    judges: Mapping[str, JudgeConfig] = field(default_factory=dict)
    """By name, for graders that ask one."""
    graders: tuple[str, ...] = ()
    """Names of the actors that grade (`munro.rewards.service.cluster.Graders`); without, each
    worker
    grades."""
    placement: Any = "SPREAD"
    """Ray's scheduling strategy of the actors: spread over the cluster, or a placement group."""
    server_placement: tuple[Any, ...] = ()
    """That of each server, where it is another."""
    lasting: str = ""
    """Prefix of the names of servers and workers that outlive the climb's own process, and are
    found by it again; empty where they end with it."""
    gpu_share: float = 1.0
    """Of each of its GPUs, what a server takes; the learner beside it has the rest."""
    sharing: Sharing = ALONE
    """How the servers' engines stand to the learner."""
    adapters: Adapters | None = None
    """What the learner trains and publishes, where that is no whole model."""
    weigh: Callable[[Group], Worth] | None = None
    """What a learner must know of a group to share it out; None where nothing is trained."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Environment variables of the actors' processes."""
