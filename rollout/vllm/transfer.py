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
from vllm.distributed import get_tensor_model_parallel_rank
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

from munro.rollout.transfer.execute import receive
from munro.rollout.transfer.types import Box, Layout
from munro.rollout.vllm.layout import Catalogue, Intake, laid_open, put_back, record
from munro.rollout.vllm.recording import Landing
from munro.rollout.vllm.weights import forget_packed_experts, repack_embeddings

BACKEND = "munro_plan"


@dataclass
class PlanInit(WeightTransferInitInfo):  # type: ignore[misc]
    """Told whenever the servers that take weights in, or the learner, are others."""

    meeting: dict[str, Any]
    """As the sender said it; see `munro.rollout.transfer.execute`."""
    layout: bytes
    """Of all processes of this server, packed."""


@dataclass
class PlanUpdate(WeightTransferUpdateInfo):  # type: ignore[misc]
    """Told with every update."""

    update: dict[str, Any]
    """As the sender said it."""
    repack: bool = True
    """False leaves out `repack_embeddings`: only the proof that the sync is checked does so."""


class PlanTransfer(WeightTransferEngine[PlanInit, PlanUpdate]):  # type: ignore[misc]
    """Takes boxes from the learner or from another server, as `munro.rollout.transfer` plans."""

    init_info_cls = PlanInit
    update_info_cls = PlanUpdate
    supports_draft_weight_update = False

    _intake: Intake | None = None
    _arrivals: Arrivals | None = None
    _met: PlanInit | None = None
    _repack = True

    def prepare(self, catalogue: Catalogue) -> dict[str, Any]:
        """Learn from the model's loaders what it needs of what a learner publishes.

        Returns:
            wanted: rank, name, start, stop and dtype of each box; unread: names of which it takes
            nothing; whole: bytes of the tensors that must come whole; bytes: of all tensors.

        Raises:
            BadLayout: see `record`.
        """
        rank = get_tensor_model_parallel_rank()
        # lists of what were tuples, for it crossed between processes
        known = {name: (tuple(shape), dtype) for name, (shape, dtype) in catalogue.items()}
        with laid_open(self.model):
            self._intake = record(self.model, known)
        boxes = self._intake.wanted(rank)
        return {
            "wanted": [(w.rank, w.name, w.box.start, w.box.stop, w.dtype) for w in boxes],
            "unread": self._intake.unread,
            "whole": self._intake.whole,
            "bytes": self._intake.num_bytes,
        }

    def init_transfer_engine(self, init_info: PlanInit) -> None:
        """Remember whom to meet."""
        self._met = init_info

    def start_weight_update(self) -> None:
        """Give the layers their loadable parameters back, also after an update that stopped."""
        assert self._intake is not None, "asked for an update before `prepare`"
        put_back(self.model)
        if self.device.type == "cpu":
            forget_packed_experts(self.model)
        initialize_layerwise_reload(self.model)
        self._arrivals = Arrivals(self.model, self._intake)

    def update_weights(self, update_info: dict[str, Any]) -> None:
        """Take everything in. The base class would synchronise an accelerator here."""
        self.receive_weights(self.parse_update_info(update_info))

    def receive_weights(self, update_info: PlanUpdate) -> None:
        """Meet the sender, and put each box where it belongs as it comes."""
        assert self._met is not None
        assert self._arrivals is not None
        self._repack = update_info.repack
        receive(
            self._met.meeting,
            update_info.update,
            rank=get_tensor_model_parallel_rank(),
            layout=Layout.unpacked(self._met.layout),
            take=self._arrivals.take,
        )

    def finish_weight_update(self) -> None:
        """Put the new values where the kernels read them.

        Raises:
            RuntimeError: something has not come.
        """
        assert self._arrivals is not None
        self._arrivals.finish()
        self._arrivals = None
        finalize_layerwise_reload(self.model, self.model_config)
        if self._repack and self.device.type == "cpu":
            repack_embeddings(self.model)

    def shutdown(self) -> None:
        """Nothing is held open between updates."""


class Arrivals:
    """One update as it comes in. The model's reload must have been initialised."""

    def __init__(self, model: nn.Module, intake: Intake) -> None:
        """Nothing has come yet."""
        self._model, self._intake = model, intake
        self._layers = dict(model.named_modules())
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
            materialize_layer(layer, get_layerwise_info(layer))
            for owner, at, value in self._intake.parts[path].fills:
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
        """Of that shape and precision, with nothing in it."""
        tensor = torch.empty(shape, dtype=getattr(torch, dtype))
        return cls(tensor, tensor.numel())
