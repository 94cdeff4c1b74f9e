"""Adapters of tiny models, moved by hand, and handed over as the learner does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from munro.base_model.adapters import attach
from munro.base_model.adapters.config import LoraConfig
from munro.rollout.adapters import Adapters, SharedMemoryAdapters
from munro.rollout.engine import WeightSource

LORA = LoraConfig(rank=4, alpha=8)


def adapted(model: Any, folder: Path, lora: LoraConfig = LORA) -> Any:
    """The model with a new adapter on it."""
    attach.attach(model, lora, base=str(folder), seed=0)
    return model.eval()


def told(model: Any, *, versions: int = 3, lora: LoraConfig = LORA) -> Adapters:
    """What engines of these adapters are told."""
    return Adapters(
        rank=lora.rank,
        alpha=lora.alpha,
        modules=attach.suffixes([n for n, m in model.named_modules() if hasattr(m, "lora_A")]),
        versions=versions,
    )


@torch.no_grad()
def move(model: Any, *, seed: int, by: float = 0.1) -> None:
    """What a few optimizer steps would do: every adapter's matrices move."""
    rng = torch.Generator().manual_seed(seed)
    for weight in attach.weights_of(model).values():
        weight += by * torch.randn(weight.shape, generator=rng)


def publish(
    model: Any, folder: Path, version: int, *, without: str = "", lora: LoraConfig = LORA
) -> WeightSource:
    """Hand the adapter over; one half-applied lacks what is in layers with `without` in a name."""
    tensors = {
        name: torch.zeros_like(weight) if without and without in name else weight
        for name, weight in attach.weights_of(model).items()
    }
    transfer = SharedMemoryAdapters(folder, told(model, lora=lora))
    return transfer.publish(tensors.items(), version)
