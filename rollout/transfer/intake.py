"""A transformers model that takes new weights in place, box by box."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from munro.rollout.engine import WeightSource
from munro.rollout.transfer.asking import NotReceived
from munro.rollout.transfer.boxes import rows
from munro.rollout.transfer.receiving import Receiver
from munro.rollout.transfer.types import Box, Into, Wanted
from munro.rollout.transfer.views import seen, views

NEAR = 1 << 18
"""Elements."""


class Intake:
    """All of a model's weights, wanted whole, by the names of its checkpoint."""

    def __init__(self, model: Any, device: torch.device) -> None:
        """
        Args:
            model: transformers' own; every weight is in one piece.
            device: where it is.

        Raises:
            NotABox: its checkpoint's tensors are not parts of its parameters.
        """
        saved = model.state_dict().keys()
        buffers = ((name, one) for name, one in model.named_buffers() if name in saved)
        self._tensors: dict[str, Tensor] = dict((*model.named_parameters(), *buffers))
        shapes = {name: tuple(tensor.shape) for name, tensor in self._tensors.items()}
        self._views = views(model, shapes)
        wanted = [
            Wanted(rank=0, name=name, box=part, dtype=self._dtype(into), into=into)
            for name, (into, whole) in self._views.items()
            for part in rows(whole, self._tensors[into.parameter].element_size())
        ]
        self._receiver = Receiver(wanted, device=device, takes_all=True)

    @torch.no_grad()
    def take(self, source: WeightSource) -> Iterator[None]:
        """Put a version in place, a step for each box.

        Raises:
            NotReceived: it did not come whole.
        """
        for name, box, tensor in self._receiver.receive(source.meeting, source.update):
            into, _ = self._views[name]
            parameter = self._tensors[into.parameter]
            place = seen(parameter, Box.whole(parameter.shape), into, box)
            yield
            for part, given in zip(_near(place), _near(tensor), strict=True):
                part.copy_(given)
                if not torch.equal(part, given.to(part.dtype)):
                    raise NotReceived(f"{name} does not hold what was written to it")

    def _dtype(self, into: Into) -> str:
        return str(self._tensors[into.parameter].dtype).removeprefix("torch.")


def _near(tensor: Tensor) -> Sequence[Tensor]:
    """In parts that a processor still has at hand when it reads them once more."""
    if tensor.device.type != "cpu" or not tensor.dim():
        return (tensor,)
    return torch.split(tensor, max(NEAR // max(tensor[:1].numel(), 1), 1))
