"""Weights by plan into a running vLLM: each process takes the boxes that it needs, and no more.

    boxes ──► Arrivals ──► a layer's own parameters ──► its last box ──► packed matrices made again

A layer is materialised at its first box and repacked after its last, so that at any moment only the
layers under way have their weights twice. Between start and finish the model is of two versions;
an update that stops there leaves it torn, until one comes to its end.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from vllm.config import set_current_vllm_config
from vllm.distributed import (
    get_tensor_model_parallel_rank,
    get_tensor_model_parallel_world_size,
)
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

from munro.rollout.transfer.asking import HELD
from munro.rollout.transfer.group import FIND_S, Address, Until, found, read
from munro.rollout.transfer.receiving import Receiver
from munro.rollout.transfer.types import Box, Layout
from munro.rollout.vllm.layout import Catalogue, Intake, Part, laid_open, put_back, record
from munro.rollout.vllm.recording import Landing
from munro.rollout.vllm.weights import forget_packed_experts, repack_embeddings

BACKEND = "munro_plan"


@dataclass
class PlanInit(WeightTransferInitInfo):  # type: ignore[misc]
    """Told before the first update that comes from there."""

    meeting: dict[str, Any]
    """Where the learner's store is, as it said itself."""
    most_whole: float
    """Share of the weights' bytes that may come whole to every process."""


@dataclass
class PlanUpdate(WeightTransferUpdateInfo):  # type: ignore[misc]
    """Told with every update."""

    told: dict[str, Any]
    """As the learner said it."""
    repack: bool = True
    """False leaves out `repack_embeddings`: only the proof that the sync is checked does so."""


class PlanTransfer(WeightTransferEngine[PlanInit, PlanUpdate]):  # type: ignore[misc]
    """Takes boxes from the learner or from another server, as `munro.rollout.transfer` plans."""

    init_info_cls = PlanInit
    update_info_cls = PlanUpdate
    supports_draft_weight_update = False

    _meeting: dict[str, Any]
    _intake: Intake
    _receiver: Receiver
    _arrivals: Arrivals
    _repack = True

    def init_transfer_engine(self, init_info: PlanInit) -> None:
        """Find the learner, and learn from the model's loaders what to take of what it has.

        Raises:
            BadLayout: they do not fit together.
        """
        until = Until.within(FIND_S)
        store = found(Address(**init_info.meeting), until)
        catalogue = published(Layout.unpacked(read(store, HELD, until)))
        # the worker calls this outside of what the model's layers look their config up in
        with set_current_vllm_config(self.vllm_config), laid_open(self.model):
            intake = record(self.model, catalogue)
        intake.require_fit(init_info.most_whole)
        rank, ranks = get_tensor_model_parallel_rank(), get_tensor_model_parallel_world_size()
        wanted = intake.wanted(rank)
        self._receiver = Receiver(wanted, device=self.device, rank=rank, ranks=ranks)
        self._intake, self._meeting = intake, init_info.meeting

    def start_weight_update(self) -> None:
        """Give the layers their loadable parameters back, also after an update that stopped."""
        put_back(self.model)
        if self.device.type == "cpu":
            forget_packed_experts(self.model)
        initialize_layerwise_reload(self.model)
        self._arrivals = Arrivals(self.model, self._intake)

    def update_weights(self, update_info: dict[str, Any]) -> None:
        """Take everything in. The base class would synchronise an accelerator here."""
        self.receive_weights(self.parse_update_info(update_info))

    def receive_weights(self, update_info: PlanUpdate) -> None:
        """Put each box where it belongs as it comes; at the end all checksums were right."""
        self._repack = update_info.repack
        for name, box, tensor in self._receiver.receive(self._meeting, update_info.told):
            self._arrivals.take(name, box, tensor)

    def finish_weight_update(self) -> None:
        """Put the new values where the kernels read them.

        Raises:
            RuntimeError: something has not come.
        """
        self._arrivals.finish()
        del self._arrivals
        finalize_layerwise_reload(self.model, self.model_config)
        if self._repack and self.device.type == "cpu":
            repack_embeddings(self.model)

    def shutdown(self) -> None:
        """Nothing is held open between updates."""


def published(held: Layout) -> Catalogue:
    """Shapes and dtypes of the tensors that a learner's ranks hold together."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name in range(len(held.names)):
        stop = held.stop[held.name == name].max(axis=0)
        shapes[held.names[name]] = tuple(map(int, stop[: held.dims[name]]))
    return {
        name: (shapes[name], dtype) for name, dtype in zip(held.names, held.dtypes, strict=True)
    }


class Arrivals:
    """One update as it comes in. The model's reload must have been initialised."""

    def __init__(self, model: Any, intake: Intake) -> None:
        """Nothing has come yet."""
        self._model, self._intake = model, intake
        self._layers: dict[str, nn.Module] = dict(model.named_modules())
        self._landings: dict[str, list[tuple[str, str, Landing]]] = defaultdict(list)
        self._left: dict[str, int] = {}
        self._open: set[str] = set()
        for path, part in intake.parts.items():
            for parameter, landing in part.landings:
                self._landings[landing.name].append((path, parameter, landing))
            if part.landings:
                self._left[path] = sum(landing.box.size for _, landing in part.landings)
        self._whole = {name: _Whole.empty(*intake.catalogue[name]) for name in intake.whole}

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
        if not self._left[path]:
            raise RuntimeError(f"weights of {path} came once more, after all of them had come")
        if path not in self._open:
            self._open.add(path)
            self._materialise(layer, self._intake.parts[path])
        parameter: Tensor = getattr(layer, name).data
        return parameter

    def _materialise(self, layer: nn.Module, part: Part) -> None:
        """Give a layer loadable parameters, with what no box will bring."""
        info = get_layerwise_info(layer)
        materialize_layer(layer, info)
        _, kept = info.kernel_tensors or ({}, {})
        for name, buffer in kept.items():
            # vLLM's reload would copy a buffer that nothing loads as it finds it: uninitialised
            own = layer._buffers.get(name)
            if own is not None and own is not buffer and own.shape == buffer.shape:
                own.data.copy_(buffer.data)
        for owner, at, value in part.fills:
            at.view(getattr(layer, owner).data).fill_(value)

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
        """Of that shape and precision, with nothing in it."""
        tensor = torch.empty(shape, dtype=getattr(torch, dtype))
        return cls(tensor, tensor.numel())
