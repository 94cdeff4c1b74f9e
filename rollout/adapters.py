"""Adapters on their way to the engines: the writing side, and what an engine must be ready for.

    learner ──► publish ──► /dev/shm/…/adapter-000007/ ──► WeightSource ──► engines
                                adapter_model.safetensors, adapter_config.json (peft's format)

A version is an adapter under its own name. A request keeps the one that it began with, so nothing
has to stop for an update, and no request is answered by two policies.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from munro.rollout.engine import WeightSource
from munro.rollout.weights import SharedMemoryWeights

if TYPE_CHECKING:
    from torch import Tensor

CONFIG = "adapter_config.json"
TENSORS = "adapter_model.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapters:
    """What engines of a climb that trains adapters are told when they start. Crosses to them.

    Example:
        Adapters(rank=16, alpha=32.0, modules=("q_proj", "v_proj"), versions=6)
    """

    rank: int
    alpha: float
    modules: tuple[str, ...]
    """Last parts of the names of the layers that have one."""
    versions: int
    """That may be in use at once: as many as a request may be stale, and the newest."""
    base_bits: int = 0
    """4 where the base is held in 4 bits."""


class SharedMemoryAdapters(SharedMemoryWeights):
    """As `SharedMemoryWeights`, for the tensors of an adapter by the names of peft's files.

    Example:
        published = SharedMemoryAdapters(place("stem-4711"), adapters)
        source = published.publish(tensors.items(), version=7)
    """

    def __init__(self, folder: str | Path, adapters: Adapters, *, keep: int = 2) -> None:
        super().__init__(folder, keep=keep)
        self._adapters = adapters

    def publish(self, named_tensors: Iterable[tuple[str, Tensor]], version: int) -> WeightSource:
        """Write one folder that peft and vLLM load; see `SharedMemoryWeights.publish`."""
        return super().publish(named_tensors, version)

    def _path(self, version: int) -> Path:
        return self._folder / f"adapter-{version:06d}"

    def _write(self, tensors: dict[str, Tensor], half: Path) -> None:
        shutil.rmtree(half, ignore_errors=True)
        half.mkdir()
        super()._write(tensors, half / TENSORS)
        told = {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "r": self._adapters.rank,
            "lora_alpha": self._adapters.alpha,
            "target_modules": sorted({layer_of(name) for name in tensors}),
            "bias": "none",
        }
        (half / CONFIG).write_text(json.dumps(told), encoding="utf-8")

    def _remove(self, path: Path) -> None:
        shutil.rmtree(path, ignore_errors=True)


def layer_of(name: str) -> str:
    """The layer that a tensor of peft's files belongs to, by its full name in the model."""
    return name.removeprefix("base_model.model.").rsplit(".lora_", 1)[0]


def adapter_config(folder: str | Path) -> Mapping[str, Any]:
    """What a published adapter says of itself."""
    told: Mapping[str, Any] = json.loads((Path(folder) / CONFIG).read_text(encoding="utf-8"))
    return told
