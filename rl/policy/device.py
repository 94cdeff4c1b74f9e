"""A micro-batch where the model is: everything that its pass and its loss want, as tensors.

Shape letters: R = rows, L = columns, T = sampled tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from munro.base_model.device.feed import moved
from munro.base_model.parallel.context import Context
from munro.rl.policy.logprob import Targets, prepare
from munro.rl.policy.packing import MicroBatch
from munro.rl.policy.stretches import Stretch, stretched


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceBatch:
    """A `MicroBatch` on a device; its fields by the same names, and what the host knows of it."""

    token_ids: Tensor
    """[R, L] int64"""
    positions: Tensor
    """[R, L] int64"""
    until: Tensor | None
    """[R, L] int32; None where plain causality will do."""
    document_starts: Tensor | None
    """[N + 1] int32; None where there are branches."""
    longest: int
    """Tokens of the longest document; L where there are branches."""
    present: Tensor
    """[R, L] bool"""
    predicted_at: Tensor
    """[T] int64; with a `stretch` of its tokens alone, counted in its columns."""
    behaviour_logp: Tensor
    """[T] float32"""
    advantages: Tensor
    """[T] float32"""
    sequences: Tensor
    """[T] int64"""
    targets: Targets
    """The T sampled tokens, and which way to each one's log-probability; with a `stretch` its."""
    routed_experts: Tensor | None
    """[R, L, layers, experts per token] int16"""
    stretch: Stretch | None = None
    """What this rank computes of it, where several compute it together."""

    @property
    def num_tokens(self) -> int:
        """Tokens that are computed, padding included."""
        return self.token_ids.numel()

    @property
    def num_sampled(self) -> int:
        """T"""
        return len(self.advantages)

    @property
    def columns(self) -> slice:
        """That this rank computes."""
        return slice(None) if self.stretch is None else self.stretch.columns


def on_device(
    micro: MicroBatch,
    device: torch.device,
    *,
    vocabulary: int,
    context: Context | None = None,
) -> DeviceBatch:
    """Copy a micro-batch, all of it at once; the host does not wait until it is there.

    Args:
        micro: laid out.
        device: where to.
        vocabulary: rows of the output matrix.
        context: the ranks that compute it together.
    """
    stretch = None
    if context is not None:
        micro, stretch = stretched(micro, context)
    targets = prepare(
        *(micro.tokens, micro.kept_ids, micro.kept_starts), vocabulary, kind=device.type
    )
    same = {field.name for field in fields(MicroBatch)} & {f.name for f in fields(DeviceBatch)}
    arrays = {name: getattr(micro, name) for name in sorted(same)}
    return DeviceBatch(**moved(arrays | {"targets": targets, "stretch": stretch}, device))
