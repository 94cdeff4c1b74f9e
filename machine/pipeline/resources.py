"""How many phases fit side by side, and which GPUs each may use."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from munro.machine.pipeline.config import ClimbPhase, MachineConfig
from munro.machine.pipeline.plan import Phase

CORES_PER_PHASE = 4
"""On a machine without GPUs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What a phase got."""

    gpus: tuple[int, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables of its process."""


class Room:
    """What is free. A phase takes its share and gives it back."""

    def __init__(self, *, at_once: int, gpus: Sequence[int], why: str) -> None:
        self._at_once, self._free = at_once, list(gpus)
        self._num_gpus = len(self._free)
        self._shares: dict[str, Share] = {}
        self._why = why

    @property
    def told(self) -> str:
        """For a person."""
        several = "one phase at a time" if self._at_once == 1 else f"up to {self._at_once} at once"
        return f"{several} ({self._why})"

    def take(self, phase: Phase) -> Share | None:
        """The phase's share, or None while there is no room."""
        if len(self._shares) >= self._at_once:
            return None
        share = Share()
        if self._num_gpus:
            wanted = min(gpus_of(phase), self._num_gpus)
            if wanted > len(self._free):
                return None
            gpus, self._free = tuple(self._free[:wanted]), self._free[wanted:]
            visible = ",".join(map(str, gpus))
            share = Share(gpus=gpus, environment={"CUDA_VISIBLE_DEVICES": visible})
        self._shares[phase.name] = share
        return share

    def give_back(self, name: str) -> None:
        """The phase has ended."""
        self._free = sorted([*self._free, *self._shares.pop(name).gpus])


def gpus_of(phase: Phase) -> int:
    """GPUs that a phase can use: a climb's servers and learners, one for anything else."""
    recipe = phase.orders.get("recipe", {})
    if phase.kind == "pretrain" or "rollout" not in recipe:
        return 1
    if phase.kind == "climb" and recipe.get("ray", {}).get("colocate"):
        return 1
    servers = int(recipe["rollout"]["servers"]) * int(recipe["rollout"]["tensor_parallel"])
    return servers + (int(recipe["learner"]["ranks"]) if phase.kind == "climb" else 0)


def room_for(config: MachineConfig) -> Room:
    """Room on this machine, or on the cluster that the climbs name."""
    climbs = sum(isinstance(phase, ClimbPhase) for phase in config.phases.values())
    if config.climb.get("ray", {}).get("address"):
        most = config.at_once or max(climbs, 1)
        return Room(at_once=most, gpus=(), why="on the cluster, each on resources of its own")
    gpus = _gpus()
    if gpus:
        why = f"{len(gpus)} GPU{'s' if len(gpus) > 1 else ''} here"
        return Room(at_once=config.at_once or len(gpus), gpus=gpus, why=why)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    most = config.at_once or max(1, (cores or 1) // CORES_PER_PHASE)
    return Room(at_once=most, gpus=(), why=f"{cores} cores here")


def _gpus() -> list[int]:
    """Numbers of the GPUs that may be used, without importing torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [int(each) for each in visible.split(",") if each.strip().isdigit()]
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    listed = subprocess.run([tool, "-L"], capture_output=True, text=True, check=False).stdout
    return list(range(sum(line.startswith("GPU ") for line in listed.splitlines())))
