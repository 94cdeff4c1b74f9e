"""Plain PyTorch in the server's own process, for debugging and for models that vLLM lacks."""

from __future__ import annotations

from munro.rollout.adapters import Adapters
from munro.rollout.config import RolloutConfig
from munro.rollout.engine import Sharing, SleepingEngine


def transformers(
    model: str,
    config: RolloutConfig,
    *,
    seed: int,
    max_context: int,
    sharing: Sharing,  # noqa: ARG001 - weights come in files
    adapters: Adapters | None,  # noqa: ARG001 - it learns of them by the first update
) -> SleepingEngine:
    """Start it; see `munro.rollout.inference.build_engine`."""
    from munro.rollout.transformers_engine import TransformersEngine

    return TransformersEngine(model, config, seed=seed, max_context=max_context)
