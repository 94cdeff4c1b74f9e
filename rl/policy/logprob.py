"""Log-probabilities of sampled tokens from hidden states, without the logits of a whole batch.

Two exact ways:

    nucleus    a position with a small recorded nucleus needs only the kept rows of the output
               matrix: no product with the whole vocabulary at all
    linear     any other position: the whole vocabulary, tile by tile; a wide nucleus is a mask

Which way a position goes is decided on the host, from what the rollouts recorded, so that no device
has to be asked. Replaying the nucleus: MAI-Thinking-1 report, section 3.1.3.

Shape suffixes: T = positions, D = model width, V = vocabulary, M = kept candidates of all
positions together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from munro.kernels.linear_logprob import linear_logprob
from munro.kernels.nucleus_logprob import nucleus_logprob
from munro.kernels.nucleus_logprob.layout import Plan, plan
from munro.kernels.scale import Scale

GATHER_COST = {"cpu": 16, "cuda": 600}
"""By kind of device: rows of a matrix product over many positions that cost what one gathered row
does. The GPU's is reckoned from two times on an H200, forward and backward at width 1,024: at most
9.9 ns a gathered row, and 15 to 16 ps a position and row of the whole matrix."""

Array = Any
"""An array of NumPy on the host, a tensor of the same numbers on a device."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """The sampled tokens of a micro-batch, and which way to each one's log-probability.

    Example:
        prepare(micro.tokens, micro.kept_ids, micro.kept_starts, 49_152)
    """

    tokens: Array
    """(T,) int64"""
    near: Plan | None
    """The candidates of the positions that go by their nuclei; None where none does."""
    near_at: Array | None
    """Those positions, int64; None where all do, or none."""
    far_at: Array | None
    """The others; None where all go there, or none."""
    place: Array | None
    """(T,) int64 where among the nearer ones' results, then the others', each position's lies."""
    wide: tuple[Array, Array] | None
    """Nuclei that are masks: (M,) int64 ids, and (T + 1,) int64 offsets."""

    def __len__(self) -> int:
        """T"""
        return len(self.tokens)


def prepare(
    tokens: NDArray[np.integer],
    kept_ids: NDArray[np.integer],
    kept_starts: NDArray[np.integer],
    vocabulary: int,
    *,
    kind: str = "cpu",
) -> Targets:
    """Decide, on the host, which way each position goes.

    All recorded nuclei go the same: by their rows where that costs less than their share of the
    whole vocabulary, on average over them.

    Args:
        tokens: (T,) the sampled tokens.
        kept_ids: (M,) the nuclei end to end; each holds its token once.
        kept_starts: (T + 1,) offsets into `kept_ids`; an empty slice means all of V.
        vocabulary: rows of the output matrix.
        kind: of the device it is for.

    Raises:
        ValueError: a nucleus lacks its token, or an id is no row of the matrix.
    """
    tokens = np.ascontiguousarray(tokens, np.int64)
    has_nucleus = np.diff(kept_starts) > 0
    cost = len(kept_ids) * GATHER_COST.get(kind, GATHER_COST["cuda"])
    empty: dict[str, Any] = dict.fromkeys(("near", "near_at", "far_at", "place", "wide"))
    if not has_nucleus.any():
        return Targets(**empty | {"tokens": tokens})
    if cost > has_nucleus.sum() * vocabulary:
        wide = (np.asarray(kept_ids, np.int64), np.asarray(kept_starts, np.int64))
        return Targets(**empty | {"tokens": tokens, "wide": wide})
    near_at, far_at = np.flatnonzero(has_nucleus), np.flatnonzero(~has_nucleus)
    starts = np.append(np.asarray(kept_starts)[near_at], len(kept_ids))
    near = plan(tokens[near_at], kept_ids, starts, vocabulary)
    if not len(far_at):
        return Targets(**empty | {"tokens": tokens, "near": near})
    place = np.empty(len(tokens), np.int64)
    place[np.concatenate([near_at, far_at])] = np.arange(len(tokens))
    mixed = {"near": near, "near_at": near_at, "far_at": far_at, "place": place}
    return Targets(**empty | mixed | {"tokens": tokens})


def sampled_logp(
    hidden_TD: Tensor,
    weight_VD: Tensor,
    targets: Targets,
    *,
    scale: Scale,
    tile: int = 512,
    grad_weight: str = "return",
) -> Tensor:
    """Log-probability of each token under the softmax over its nucleus.

    Args:
        hidden_TD: [T, D] what the output matrix is applied to.
        weight_VD: [V, D] the output matrix; no bias.
        targets: of `prepare`, on the device of the others.
        scale: temperature and soft cap.
        tile: positions whose logits may exist at once, on a CPU.
        grad_weight: "return" the matrix's gradient, or "add" it straight into `weight_VD.grad`;
            see `munro.kernels.gradient`.

    Returns:
        [T] float32 (float64 for float64 input), with gradient to `hidden_TD` and `weight_VD`.
        Under autocast the products are of operands in its precision; nothing else is.
    """
    how: dict[str, Any] = {"scale": scale, "grad_weight": grad_weight}
    wide = how | {"tile": tile, "keep_bytes": 4 * tile * len(weight_VD)}
    tokens = targets.tokens
    if targets.near is None:
        far, _ = linear_logprob(hidden_TD, weight_VD, tokens, kept=targets.wide, **wide)
        return far
    if targets.near_at is None or targets.far_at is None or targets.place is None:
        return nucleus_logprob(hidden_TD, weight_VD, tokens, targets.near, **how)
    hidden, token = (one.index_select(0, targets.near_at) for one in (hidden_TD, tokens))
    near = nucleus_logprob(hidden, weight_VD, token, targets.near, **how)
    hidden, token = (one.index_select(0, targets.far_at) for one in (hidden_TD, tokens))
    far, _ = linear_logprob(hidden, weight_VD, token, **wide)
    return torch.cat([near, far]).index_select(0, targets.place)
