"""Weights of a mixture that its epoch caps allow, and caps from how much a source is memorised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from munro.base_model.data.config import MemorisationConfig
from munro.base_model.data.errors import SourceExhausted


def capped_weights(
    weights: Mapping[str, float],
    unique_tokens: Mapping[str, float],
    num_tokens: float,
    *,
    max_epochs: float | Mapping[str, float] = 8.0,
) -> dict[str, float]:
    """The nearest shares that no cap forbids: what a source may not give, the others do.

    Args:
        weights: by source, any positive scale.
        unique_tokens: of each source.
        num_tokens: of the run.
        max_epochs: one cap for all, or one each.

    Returns:
        Shares that sum to 1, each at most `max_epochs * unique_tokens / num_tokens`.

    Raises:
        SourceExhausted: all sources together, read up to their caps, have too few tokens.
    """
    most = {
        name: (max_epochs[name] if isinstance(max_epochs, Mapping) else max_epochs)
        * unique_tokens[name]
        / num_tokens
        for name in weights
    }
    if sum(most[name] for name in weights if weights[name] > 0) < 1 - 1e-9:
        raise SourceExhausted(
            f"the sources, each read up to its cap, give {sum(most.values()) * num_tokens:,.0f} "
            f"tokens of the {num_tokens:,.0f} asked for: train on fewer, or add data."
        )
    free = {name: weight for name, weight in weights.items() if weight > 0}
    fixed: dict[str, float] = {}
    while free:
        left = 1 - sum(fixed.values())
        total = sum(free.values())
        over = [name for name, weight in free.items() if weight / total * left > most[name]]
        if not over:
            break
        fixed |= {name: most[name] for name in over}
        free = {name: weight for name, weight in free.items() if name not in over}
    total = sum(free.values())
    left = 1 - sum(fixed.values())
    shares = fixed | {name: weight / total * left for name, weight in free.items()}
    return {name: shares.get(name, 0.0) for name in weights}


def memorisation(
    nll_before: Sequence[float], nll_after: Sequence[float], threshold: float
) -> float:
    """m_s: the share of a source's improvement that comes from tokens it has learned by heart.

    m_s = sum over tokens with nll_after < threshold of (nll_before - nll_after), over the same sum
    over all tokens (report, section 2.6, gives the definition in words; the formula is ours).

    Args:
        nll_before: nats of every token of a validation set of the source, at an earlier checkpoint.
        nll_after: the same tokens at a later one.
        threshold: nats below which a token counts as memorised.

    Returns:
        Between 0 and 1. 0 where nothing improved; 1 where memorised tokens improved by more than
        all tokens together.
    """
    before, after = np.asarray(nll_before, np.float64), np.asarray(nll_after, np.float64)
    if before.shape != after.shape:
        raise ValueError(f"{before.shape} losses before, {after.shape} after: not the same tokens")
    improvement = before - after
    total = float(improvement.sum())
    learned_by_heart = float(improvement[after < threshold].sum())
    if total <= 0 or learned_by_heart <= 0:
        return 0.0
    return min(learned_by_heart / total, 1.0)


def epoch_cap(memorised: float, config: MemorisationConfig) -> float:
    """How often a source may be read: from `most_epochs` down to `least_epochs`, linear in m_s."""
    return config.most_epochs - memorised * (config.most_epochs - config.least_epochs)
