"""What each learner rank holds of the weights, by the names of the checkpoint that servers know.

Nothing is gathered: where a rank's part lies follows from the placements of the parameters, for all
ranks at once, and a rank sends from a copy of its own part.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from munro.base_model.training.sharding import World
from munro.rollout.transfer.boxes import Spread, boxes, everywhere, layout
from munro.rollout.transfer.sending import Shards
from munro.rollout.transfer.types import Box
from munro.rollout.transfer.views import seen, views


class HeldWeights:
    """A model's weights on this rank, in the servers' precision; tied ones once."""

    def __init__(self, model: Any, world: World) -> None:
        """
        Args:
            model: the transformers model, sharded or not.
            world: its ranks.

        Raises:
            NotABox: a weight is spread, or named, in a way that cannot be sent as it lies.
        """
        self._model, self._rank = model, world.rank
        self._dtype = torch.bfloat16 if world.device.type == "cuda" else torch.float32
        tensors = self._tensors()
        spreads = {name: _spread(tensor, world.size) for name, tensor in tensors.items()}
        self._own = {name: spread.of(self._rank) for name, spread in spreads.items()}
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        self._views = views(model, shapes)
        self._copies: dict[str, Tensor] = {}
        self._held = layout(
            [
                (
                    name,
                    str(self._sent(tensors[into.parameter])).removeprefix("torch."),
                    spreads[into.parameter].inside(into, whole.shape),
                )
                for name, (into, whole) in self._views.items()
            ]
        )

    def now(self, *, again: bool = False) -> Shards:
        """A copy of this rank's part as it is now: training goes on beside it.

        Args:
            again: nobody reads the last copy any more, and this one takes its memory: new memory
                costs as much as the copying.
        """
        for module in self._model.modules():
            if isinstance(module, FSDPModule):
                module.reshard()
        if not again:
            self._copies = {}
        copies = self._copies = {
            name: self._copy(name, _local(tensor)) for name, tensor in self._tensors().items()
        }

        def part(name: str, box: Box) -> Tensor:
            into, _ = self._views[name]
            return seen(copies[into.parameter], self._own[into.parameter], into, box)

        return Shards(held=self._held, part=part)

    def _copy(self, name: str, own: Tensor) -> Tensor:
        if (last := self._copies.get(name)) is not None:
            return last.copy_(own)
        return own.to(self._sent(own), copy=True)

    def _tensors(self) -> dict[str, Tensor]:
        saved = self._model.state_dict().keys()
        buffers = ((name, one) for name, one in self._model.named_buffers() if name in saved)
        return dict((*self._model.named_parameters(), *buffers))

    def _sent(self, tensor: Tensor) -> torch.dtype:
        return self._dtype if tensor.is_floating_point() else tensor.dtype


def _spread(tensor: Tensor, ranks: int) -> Spread:
    shape = tuple(tensor.shape)
    if not isinstance(tensor, DTensor):
        return everywhere(shape, ranks)
    mesh = np.asarray(tensor.device_mesh.mesh.cpu().numpy(), np.int64)
    return boxes(shape, mesh, tensor.placements)


def _local(tensor: Tensor) -> Tensor:
    return (tensor.to_local() if isinstance(tensor, DTensor) else tensor).detach()
