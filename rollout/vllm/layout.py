"""Which part of which checkpoint tensor a vLLM process needs, and where it lands.

    the learner's names and shapes ──► the model's own load_weights, watched ──► Intake ──► Wanted

Tensor parallelism, fused matrices and experts are in what the loaders do, so nothing is written per
model. A layer whose loader looks at values cannot be watched: its tensors come whole, to every
process, and its loader runs on them.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from vllm.model_executor.layers.attention import is_deferred_attention_layer
from vllm.model_executor.layers.linear import LinearBase
from vllm.model_executor.model_loader.reload.layerwise import (
    _get_original_loader,
    _place_kernel_tensors,
    get_layerwise_info,
    initialize_layerwise_reload,
)
from vllm.model_executor.model_loader.reload.meta import SKIP_LOAD_TENSORS
from vllm.model_executor.model_loader.reload.utils import get_layer_tensors

from munro.rollout.transfer.boxes import rows
from munro.rollout.transfer.types import Box, Wanted
from munro.rollout.vllm.errors import BadLayout
from munro.rollout.vllm.recording import Landing, Recorder, Strided, written

LOADER = "weight_loader"
"""The attribute by which vLLM's parameters have theirs."""

Place = tuple[str, str]
"""A layer's path in the model, and the name of one of its own parameters or buffers."""
Catalogue = Mapping[str, tuple[tuple[int, ...], str]]
"""What a learner publishes: shape and dtype (as torch calls it, without "torch.") by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """How one layer is filled."""

    landings: tuple[tuple[str, Landing], ...] = ()
    """By its parameters' names."""
    fills: tuple[tuple[str, Strided, float], ...] = ()
    """Constants, as in rows that pad a vocabulary."""
    whole: tuple[str, ...] = ()
    """Tensors to run its own loader on; then there are no landings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """What one process of a server takes in, and where to."""

    catalogue: Catalogue
    parts: Mapping[str, Part]
    """By the layers' paths."""
    dtypes: Mapping[Place, str]
    untouched: tuple[str, ...]
    """Parameters and buffers that no update changes."""
    is_tied: bool
    """Its output matrix is its embedding, whatever a learner calls it."""

    @property
    def whole(self) -> dict[str, int]:
        """Bytes of the tensors that must come whole."""
        names = {name for part in self.parts.values() for name in part.whole}
        return {name: _bytes(*self.catalogue[name]) for name in sorted(names)}

    @property
    def num_bytes(self) -> int:
        """Of everything that the learner publishes."""
        return sum(_bytes(*one) for one in self.catalogue.values())

    @property
    def unread(self) -> list[str]:
        """What this process takes nothing of."""
        read = {x.name for part in self.parts.values() for _, x in part.landings}
        unread = self.catalogue.keys() - read - self.whole.keys()
        return sorted(n for n in unread if not (self.is_tied and n.startswith("lm_head.")))

    def wanted(self, rank: int) -> list[Wanted]:
        """What the process must be sent, `rank` being its own within the server."""
        boxes: dict[str, list[Box]] = defaultdict(list)
        dtypes: dict[str, torch.dtype] = {}
        for path, part in self.parts.items():
            for parameter, landing in part.landings:
                boxes[landing.name].append(landing.box)
                _widen(dtypes, landing.name, self.dtypes[path, parameter])
        for name in self.whole:
            shape, dtype = self.catalogue[name]
            boxes[name].append(Box.whole(shape))
            _widen(dtypes, name, dtype)
        return [
            Wanted(rank=rank, name=name, box=box, dtype=str(dtypes[name]).removeprefix("torch."))
            for name, (shape, _) in self.catalogue.items()
            for whole in _apart(boxes[name], shape)
            for box in rows(whole, dtypes[name].itemsize)
        ]

    def require_fit(self, most_whole: float) -> None:
        """Refuse what would be served wrong, or gains too little.

        Args:
            most_whole: share of all bytes that may come whole.

        Raises:
            BadLayout: something published goes nowhere, or too much must come whole.
        """
        otherwise = 'sync.transport = "file" leaves that to vLLM.'
        if self.unread:
            raise BadLayout(
                f"the learner publishes {_some(self.unread)}, and vLLM's model takes nothing of "
                f"it: {otherwise}"
            )
        whole = sum(self.whole.values())
        share = whole / max(self.num_bytes, 1)
        if share > most_whole:
            raise BadLayout(
                f"vLLM's loaders look at the values of {_some(list(self.whole))}, so "
                f"{whole / 1e6:.1f} MB ({share:.0%} of the weights) would go whole to every "
                f"process of a server, and sync.max_whole = {most_whole:g}. Set it higher, or: "
                f"{otherwise}"
            )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _apart(boxes: list[Box], shape: tuple[int, ...]) -> list[Box]:
    """The same boxes, each once; all of the tensor where some of them overlap."""
    once = list(dict.fromkeys(boxes))
    overlap = any((a & b).size for i, a in enumerate(once) for b in once[:i])
    return [Box.whole(shape)] if overlap else once


def _widen(dtypes: dict[str, torch.dtype], name: str, dtype: str) -> None:
    other: torch.dtype = getattr(torch, dtype)
    dtypes[name] = torch.promote_types(dtypes.get(name, other), other)


def _bytes(shape: Iterable[int], dtype: str) -> int:
    return prod(shape) * int(getattr(torch, dtype).itemsize)


def record(model: Any, catalogue: Catalogue) -> Intake:
    """Watch the model load what a learner publishes.

    Args:
        model: vLLM's, its parameters as its loaders expect them (see `laid_open`); not changed.
        catalogue: what will be published.

    Raises:
        BadLayout: some parameter would get nothing, or half of what it needs.
    """
    sources = {
        name: torch.empty(shape, dtype=getattr(torch, dtype), device="meta")
        for name, (shape, dtype) in catalogue.items()
    }
    layers = {path: layer for path, layer in model.named_modules() if get_layer_tensors(layer)}
    places: dict[Place, Tensor] = {
        (path, name): tensor
        for path, layer in reversed(layers.items())
        for name, tensor in get_layer_tensors(layer).items()
    }
    recorder = Recorder(sources, places)
    try:
        with _watched(places, recorder), recorder:
            model.load_weights(iter(sources.items()))
    except Exception as error:  # vLLM's loaders raise anything for what they do not know
        why = (str(error).splitlines() or [""])[0][:200]
        raise BadLayout(
            f"vLLM's model cannot load what the learner publishes ({type(error).__name__}: {why})"
        ) from error
    for place, at in recorder.landings.items():
        if written(places[place].numel(), [landing.at for landing in at])[1] > 1:
            recorder.spoiled[place] |= {landing.name for landing in at}
    whole = _whole(layers, recorder)
    untouched = _left_over(model, layers, places, recorder)
    parts = {path: Part(whole=names) for path, names in whole.items()}
    for path in layers.keys() - parts.keys():
        own = [(name, (path, name)) for name in get_layer_tensors(layers[path])]
        parts[path] = Part(
            landings=tuple((n, x) for n, place in own for x in recorder.landings.get(place, [])),
            fills=tuple((n, *x) for n, place in own for x in recorder.fills.get(place, [])),
        )
    return Intake(
        catalogue=dict(catalogue),
        parts={path: parts[path] for path in layers if parts[path] != Part()},
        dtypes={place: str(t.dtype).removeprefix("torch.") for place, t in places.items()},
        untouched=tuple(sorted(untouched)),
        is_tied=_is_tied(model),
    )


@contextmanager
def _watched(places: Mapping[Place, Tensor], recorder: Recorder[Place]) -> Iterator[None]:
    """A loader that fails for want of values spoils its parameter, and the others go on."""
    before = {place: getattr(tensor, LOADER, None) for place, tensor in places.items()}

    def watching(place: Place, loader: Any) -> Any:
        @functools.wraps(loader)
        def load(*args: Any, **kwargs: Any) -> Any:
            try:
                return loader(*args, **kwargs)
            except RuntimeError as error:
                if "meta" not in str(error):
                    raise
                given = [x for x in (*args, *kwargs.values()) if isinstance(x, Tensor)]
                recorder.spoiled[place] |= recorder.names(*given)
                return True

        return load

    for place, tensor in places.items():
        setattr(tensor, LOADER, watching(place, _get_original_loader(tensor)))
    try:
        yield
    finally:
        for place, tensor in places.items():
            if before[place] is None:
                delattr(tensor, LOADER)
            else:
                setattr(tensor, LOADER, before[place])


def _whole(
    layers: Mapping[str, nn.Module], recorder: Recorder[Place]
) -> dict[str, tuple[str, ...]]:
    """Layers that must be loaded by their own loaders, and from what.

    A tensor that one of them needs goes to all who load it, so these load by themselves too.
    """
    reads: dict[str, set[str]] = defaultdict(set)
    for (path, _), landings in recorder.landings.items():
        reads[path] |= {landing.name for landing in landings}
    for (path, _), names in recorder.spoiled.items():
        reads[path] |= names
    found = {path for path, _ in recorder.spoiled}
    found |= {path for path in reads if is_deferred_attention_layer(layers[path])}
    # vLLM's reload keeps such a buffer's old values unless its own loaders have run
    found |= {p for p, n in recorder.landings if n in layers[p]._non_persistent_buffers_set}
    while True:
        names = {name for path in found for name in reads[path]}
        more = {path for path in reads if reads[path] & names} - found
        if not more:
            return {path: tuple(sorted(reads[path])) for path in found}
        found |= more


def _left_over(
    model: nn.Module,
    layers: Mapping[str, nn.Module],
    places: Mapping[Place, Tensor],
    recorder: Recorder[Place],
) -> list[str]:
    """Parameters and buffers that no tensor reaches; those reached in part are 0 elsewhere.

    Raises:
        BadLayout: they would be served so, and should not.
    """
    tied = _is_tied(model)
    untouched: list[str] = []
    lacking: list[str] = []
    for place, tensor in places.items():
        (path, name), layer = place, layers[place[0]]
        at, fills = recorder.landings.get(place, []), recorder.fills.get(place, [])
        least, _ = written(tensor.numel(), [landing.at for landing in at]) if at else (0, 0)
        if least or fills or place in recorder.spoiled:
            continue
        if at and not isinstance(layer, LinearBase):
            recorder.fills[place] = [(Strided.of(tensor).moved(-tensor.storage_offset()), 0.0)]
            continue
        is_parameter = name in dict(layer.named_parameters(recurse=False))
        excused = name in SKIP_LOAD_TENSORS or is_deferred_attention_layer(layer)
        if at or (is_parameter and not excused and not (tied and path == "lm_head")):
            lacking.append(f"{path}.{name}")
        else:
            untouched.append(f"{path}.{name}")
    if lacking:
        raise BadLayout(
            f"nothing that the learner publishes fills {_some(lacking)} of vLLM's model"
        )
    return untouched


def _is_tied(model: nn.Module) -> bool:
    return bool(getattr(getattr(model, "config", None), "tie_word_embeddings", False))


@contextmanager
def laid_open(model: nn.Module) -> Iterator[None]:
    """A serving model's parameters as its loaders expect them; its own are put back at the end."""
    initialize_layerwise_reload(model)
    try:
        yield
    finally:
        put_back(model)


def put_back(model: nn.Module) -> None:
    """Give layers whose reload did not come to its end the tensors that they had before."""
    for layer in model.modules():
        info = get_layerwise_info(layer)
        if info.can_load():
            if info.kernel_tensors is not None:
                _place_kernel_tensors(layer, info)
            info.reset()
    if hasattr(model, "_original_do_torchao_reload"):
        model._do_torchao_reload = model._original_do_torchao_reload
