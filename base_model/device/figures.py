"""Figures of a step's micro-batches, left where they are computed until the step is asked."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real

import torch
from torch import Tensor


class Figures:
    """One set of figures a micro-batch; reading them all is one transfer, the step's only one.

    Example:
        figures = Figures()
        for micro in micro_batches:
            loss = ...
            figures.add({"nll": loss.detach(), "tokens": 128})
        sums = reduce(merged, figures.read())
    """

    def __init__(self) -> None:
        self._on_device: list[tuple[tuple[str, ...], Tensor]] = []
        self._on_host: list[dict[str, float]] = []
        self._order: list[tuple[str, ...]] = []

    def __len__(self) -> int:
        """Micro-batches that were added."""
        return len(self._order)

    def add(self, figures: Mapping[str, Tensor | Real | float]) -> None:
        """Of one micro-batch: tensors of one number each, or plain numbers."""
        tensors = {
            name: value.detach().reshape(()).double()
            for name, value in figures.items()
            if isinstance(value, Tensor)
        }
        stacked = torch.stack([*tensors.values()]) if tensors else torch.empty(0)
        self._on_device.append((tuple(tensors), stacked))
        self._on_host.append(
            {name: float(value) for name, value in figures.items() if name not in tensors}
        )
        self._order.append(tuple(figures))

    def read(self) -> list[dict[str, float]]:
        """The figures of each micro-batch, in their order."""
        told = [stacked for names, stacked in self._on_device if names]
        numbers = iter(torch.cat(told).tolist() if told else [])
        sets = []
        for (names, _), host, order in zip(
            self._on_device, self._on_host, self._order, strict=True
        ):
            known = host | {name: next(numbers) for name in names}
            sets.append({name: known[name] for name in order})
        return sets
