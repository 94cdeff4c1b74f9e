"""A longer cap every `length.patience` steps, whatever responses do: lengths planned beforehand."""

from __future__ import annotations

from collections.abc import Sequence

from munro.rl.config import LengthConfig


def schedule(stage: int, history: Sequence[float], config: LengthConfig) -> int:
    """The stage above once this one has lasted `config.patience` steps, while there is one.

    Args:
        stage: index into `config.stages`.
        history: truncation rate of each of this stage's last steps, at most `config.patience`.
        config: the caps, and how long each lasts.
    """
    return min(stage + (len(history) >= config.patience), len(config.stages) - 1)
