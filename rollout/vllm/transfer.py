"""Weights by plan into a running vLLM: each process takes the boxes that it needs, and no more.

    boxes ──► Arrivals ──► a layer's own parameters ──► its last box ──► packed matrices made again

A layer is materialised at its first box and repacked after its last, so that at any moment only the
layers under way have their weights twice. Between start and finish the model is of two versions;
an update that stops there leaves it torn, until one comes to its end.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from vllm.distributed.weight_transfer.base import (
    WeightTransferEngine,
    WeightTransferInitInfo,
    WeightTransferUpdateInfo,
)
from vllm.model_executor.model_loader.reload import (
    finalize_layerwise_reload,
    initialize_layerwise_reload,
)
from vllm.model_executor.model_loader.reload.layerwise import (
    _layerwise_process,
    get_layerwise_info,
)
from vllm.model_executor.model_loader.reload.meta import materialize_layer

from munro.rollout.transfer.types import Box
from munro.rollout.vllm.layout import Catalogue, Layout, laid_open, put_back, record
from munro.rollout.vllm.recording import Landing
from munro.rollout.vllm.weights import forget_packed_experts, repack_embeddings

BACKEND = "munro_plan"


class Arrivals:
    """One update as it comes in. The model's reload must have been initialised."""

    def __init__(self, model: nn.Module, layout: Layout) -> None:
        """Nothing has come yet."""
        self._model, self._layout = model, layout
        self._layers = dict(model.named_modules())
        self._landings: dict[str, list[tuple[str, str, Landing]]] = defaultdict(list)
        self._left: dict[str, int] = {}
        self._open: set[str] = set()
        for path, part in layout.parts.items():
            for parameter, landing in part.landings:
                self._landings[landing.name].append((path, parameter, landing))
            if part.landings:
                self._left[path] = sum(landing.box.size for _, landing in part.landings)
        self._whole = {name: _Whole.empty(*layout.catalogue[name]) for name in layout.whole}

    @torch.no_grad()
    def take(self, name: str, box: Box, tensor: Tensor) -> None:
        """Put one box wherever it belongs.

        Args:
            name: in the checkpoint.
            box: of the checkpoint's tensor.
            tensor: its elements, in any precision; may be used again afterwards.
        """
        for path, parameter, landing in self._landings.get(name, []):
            common = box & landing.box
            if common.size:
                own = common.within(landing.box)
                at = landing.at.part(own.start, own.shape)
                piece = tensor[common.within(box).slices]
                at.view(self._parameter(path, parameter)).copy_(piece)
                self._count(path, common.size)
        if (whole := self._whole.get(name)) is not None:
            whole.tensor[box.slices] = tensor
            whole.left -= box.size

    def finish(self) -> None:
        """Load what had to come whole.

        Raises:
            RuntimeError: something has not come.
        """
        late = [path for path, left in self._left.items() if left]
        late += [name for name, whole in self._whole.items() if whole.left]
        if late:
            raise RuntimeError(f"the update lacks weights of {', '.join(sorted(late)[:3])}")
        if self._whole:
            self._model.load_weights((n, whole.tensor) for n, whole in self._whole.items())

    def _parameter(self, path: str, name: str) -> Tensor:
        layer = self._layers[path]
        if path not in self._open:
            self._open.add(path)
            materialize_layer(layer, get_layerwise_info(layer))
            for owner, at, value in self._layout.parts[path].fills:
                at.view(getattr(layer, owner).data).fill_(value)
        parameter: Tensor = getattr(layer, name).data
        return parameter

    def _count(self, path: str, num: int) -> None:
        self._left[path] -= num
        if not self._left[path]:
            _layerwise_process(self._layers[path], get_layerwise_info(self._layers[path]))


@dataclass
class _Whole:
    """A tensor that its own loader will read."""

    tensor: Tensor
    left: int

    @classmethod
    def empty(cls, shape: tuple[int, ...], dtype: str) -> _Whole:
        tensor = torch.empty(shape, dtype=getattr(torch, dtype))
        return cls(tensor, tensor.numel())
