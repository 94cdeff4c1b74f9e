"""How a server's model is cut and named, in a few characters."""

from __future__ import annotations

import hashlib
from pathlib import Path

from munro.rollout.config import RolloutConfig


def layout_of(model: str, config: RolloutConfig) -> str:
    """Digest of the model's own config and of how an engine holds it.

    Servers that differ in it cannot take the same weights: one whose node has another checkpoint
    under the same name, say.

    Args:
        model: folder of a checkpoint.
        config: engine, precision and tensor parallelism.
    """
    file = Path(model) / "config.json"
    shape = file.read_bytes() if file.is_file() else b""
    held = f"{config.engine}, {config.dtype}, {config.tensor_parallel}"
    return hashlib.sha256(shape + held.encode()).hexdigest()[:12]
