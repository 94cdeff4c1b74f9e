"""A checkpoint into a model that lies over ranks: every rank reads its own slices, and no more.

    blank ──► model without weights ──► sharded ──► materialise ──► fill: slices of the files

Nobody ever holds the whole model. Replicas get theirs from the first of them. A weight that
transformers makes of several in the file, as it does of some mixtures' experts, is read whole by
every rank, made, and cut: one at a time.
"""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, distributed, nn
from torch.distributed.tensor import DTensor, Replicate, Shard

from munro.base_model.weights import AT_ONCE, INDEX, BadWeights

log = logging.getLogger(__name__)

ALONE = "model.safetensors"
Box = tuple[slice, ...]


def materialise(model: nn.Module, device: torch.device) -> None:
    """Give parameters without memory some, of this rank's part; tied ones stay one."""
    places: dict[int, list[tuple[nn.Module, str]]] = defaultdict(list)
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            places[id(parameter)].append((module, name))
    model._apply(  # type: ignore[no-untyped-call]
        lambda one: (
            torch.empty_like(one, device=device) if one.device.type == "meta" else one.to(device)
        )
    )
    for (first, name), *others in places.values():
        for other, its in others:
            setattr(other, its, getattr(first, name))


@torch.no_grad()
def fill(model: Any, folder: Path) -> tuple[str, ...]:
    """Read a whole model's weights into a sharded one; every rank must call it.

    Args:
        model: of transformers, its parameters with memory.
        folder: of the checkpoint, looked at before.

    Returns:
        The weights that had to be read whole.

    Raises:
        BadWeights: a weight is missing, of another shape, or not finite.
    """
    ours: dict[str, Tensor] = model.state_dict(keep_vars=True)
    plain, made = _sources(model, folder, ours)
    filled: set[int] = set()
    with _Files(folder) as files:
        for target, source in plain.items():
            _read(ours[target], target, files.shape(source), partial(files.read, source))
            filled.add(id(ours[target]))
        for target, (converter, sources) in made.items():
            for source, pattern in sources:
                whole = files.read(source, ())
                converter.add_tensor(target, source, pattern, whole.to(ours[target].dtype))
            for name, whole in converter.convert(target, model=model, config=model.config).items():
                whole = whole[0] if isinstance(whole, list) else whole
                _read(ours[name], name, whole.shape, whole.__getitem__)
                filled.add(id(ours[name]))
    if lacking := sorted(name for name, one in ours.items() if id(one) not in filled):
        raise BadWeights(f"{lacking[0]} missing: it would be what happened to be in memory")
    if made:
        log.info("%d weights were read whole by every rank: %s, ...", len(made), next(iter(made)))
    return tuple(made)


def _sources(
    model: Any, folder: Path, ours: Mapping[str, Tensor]
) -> tuple[dict[str, str], dict[str, tuple[Any, list[tuple[str, str]]]]]:
    """Of each weight the one in the files, or what transformers makes it of, in its order."""
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import (
        WeightConverter,
        WeightRenaming,
        dot_natural_key,
        rename_source_key,
    )

    rules = get_model_conversion_mapping(model)
    renamings = [rule for rule in rules if isinstance(rule, WeightRenaming)]
    converters = [rule for rule in rules if isinstance(rule, WeightConverter)]
    of_pattern = {pattern: rule for rule in converters for pattern in rule.source_patterns}
    plain: dict[str, str] = {}
    made: dict[str, tuple[Any, list[tuple[str, str]]]] = {}
    for key in sorted(_index(folder), key=dot_natural_key):
        target, pattern = rename_source_key(
            key, renamings, converters, model.base_model_prefix, dict(ours)
        )
        if target not in ours:
            continue  # as transformers does with what no weight asks for
        if pattern is None:
            plain[target] = key
            continue
        made.setdefault(target, (deepcopy(of_pattern[pattern]), []))[1].append((key, pattern))
    # what saving and publishing turn round again
    model._weight_conversions = [rule for rule in rules if rule.was_used()]
    return plain, made


def _read(into: Tensor, name: str, there: torch.Size, read: Callable[[Box], Tensor]) -> None:
    """One weight: this rank's part, or of replicas the first one's."""
    if there != into.shape:
        raise BadWeights(
            f"{name} is {tuple(there)} in the file, and its config makes it {tuple(into.shape)}"
        )
    if not isinstance(into, DTensor):
        _put(into, name, read(tuple(slice(0, size) for size in there)))
        return
    mesh = into.device_mesh
    copies = [dim for dim, how in enumerate(into.placements) if isinstance(how, Replicate)]
    local = into.to_local()
    if not any(mesh.get_local_rank(dim) for dim in copies) and local.numel():
        _put(local, name, read(box(into)))
    for dim in copies:
        distributed.broadcast(local, group=mesh.get_group(dim), group_src=0)


def _put(into: Tensor, name: str, read: Tensor) -> None:
    into.copy_(read)
    if into.is_floating_point() and not into.isfinite().all():
        raise BadWeights(f"{name} holds numbers that are not finite (NaN or infinite)")


def box(tensor: DTensor) -> Box:
    """The part of the whole that is here, by torch's rule of chunks."""
    found = [slice(0, size) for size in tensor.shape]
    for dim, how in enumerate(tensor.placements):
        if not isinstance(how, Shard):
            continue
        whole = found[how.dim]
        part = -(-(whole.stop - whole.start) // tensor.device_mesh.size(dim))
        start = min(whole.stop, whole.start + part * tensor.device_mesh.get_local_rank(dim))
        found[how.dim] = slice(start, min(whole.stop, start + part))
    return tuple(found)


class _Files:
    """Slices of a checkpoint's tensors; what was read of an open file stays in memory, so that one
    is opened anew after so many bytes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._of = folder, _index(folder)
        self._name, self._read = "", 0
        self._open: Any = None

    def __enter__(self) -> _Files:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def shape(self, key: str) -> torch.Size:
        return torch.Size(self._slices(key).get_shape())

    def read(self, key: str, box: Box) -> Tensor:
        """A part; all of it by an empty box."""
        slices = self._slices(key)
        part: Tensor = slices[box] if box else slices[:]
        self._read += part.nbytes
        return part

    def _slices(self, key: str) -> Any:
        name = self._of[key]
        if name != self._name or self._read > AT_ONCE:
            self._close()
            opened: Any = safe_open(self._folder / name, framework="pt")
            self._open = opened.__enter__()
            self._name, self._read = name, 0
        return self._open.get_slice(key)

    def _close(self) -> None:
        if self._open is not None:
            self._open.__exit__(None, None, None)
            self._open = None


def _index(folder: Path) -> dict[str, str]:
    """The file of every tensor."""
    if (folder / INDEX).is_file():
        listed: dict[str, str] = json.loads((folder / INDEX).read_text())["weight_map"]
        return listed
    with safe_open(folder / ALONE, framework="pt") as opened:
        return dict.fromkeys(opened.keys(), ALONE)
