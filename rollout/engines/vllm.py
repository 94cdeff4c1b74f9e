"""vLLM, in processes of its own."""

from __future__ import annotations

from munro.rollout.adapters import Adapters
from munro.rollout.config import RolloutConfig
from munro.rollout.engine import Sharing, SleepingEngine


def vllm(
    model: str,
    config: RolloutConfig,
    *,
    seed: int,
    max_context: int,
    sharing: Sharing,
    adapters: Adapters | None,
) -> SleepingEngine:
    """Start it; see `munro.rollout.inference.build_engine`."""
    from munro.rollout.vllm.engine import VllmEngine

    return VllmEngine(
        model, config, seed=seed, max_context=max_context, sharing=sharing, adapters=adapters
    )
