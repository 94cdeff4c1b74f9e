"""What the pieces of a sharded checkpoint hold, and how a model and its optimizer get it back.

    weights/NAME          parameters and persistent buffers, by the model's own names
    moments/NAME/KEY      the optimizer's state of a parameter

Placements are those of the tensors; whoever loads gives tensors that are placed otherwise, and
reads what falls into its own.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load

from munro.base_model.checkpoint import STATE, CheckpointError

WEIGHTS, MOMENTS = "weights/", "moments/"
STEP = "step"
"""Key of the one number in the optimizer's state that is no moment."""

LISTED = {
    ("torch", "Size"),
    ("torch.serialization", "_get_layout"),
    ("pathlib", "PosixPath"),
    ("torch.distributed.checkpoint.filesystem", "_StorageInfo"),
    *(
        ("torch.distributed.checkpoint.metadata", name)
        for name in (
            "Metadata", "TensorStorageMetadata", "TensorProperties", "ChunkStorageMetadata",
            "MetadataIndex", "StorageMeta", "_MEM_FORMAT_ENCODING",
        )
    ),
}  # fmt: skip
"""What torch's list of pieces consists of, beside precisions, by module and name."""


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """Parameters, tied ones once, and persistent buffers: the very tensors, by name."""
    saved = model.state_dict().keys()
    buffers = ((name, buffer) for name, buffer in model.named_buffers() if name in saved)
    named = (*model.named_parameters(), *buffers)
    return {f"{WEIGHTS}{name}": tensor.detach() for name, tensor in named}


def tensors_of(model: nn.Module, optimizer: torch.optim.Optimizer | None) -> dict[str, Tensor]:
    """All that a checkpoint keeps: the very tensors, by name.

    Args:
        model: sharded or not.
        optimizer: None where the weights are wanted alone.
    """
    found = weights_of(model)
    for name, parameter in model.named_parameters():
        if optimizer is None or parameter not in optimizer.state:
            continue
        for key, value in optimizer.state[parameter].items():
            if not isinstance(value, Tensor):
                raise TypeError(f"{key!r} of {name} is no tensor: such state cannot be shared out")
            found[f"{MOMENTS}{name}/{key}"] = value
    return found


def restore(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Give a model and its optimizer what ranks, however many, have written.

    Every rank reads the pieces that fall into its own shards, and needs no other rank for it.

    Args:
        folder: of a complete checkpoint.
        model: sharded or not.
        optimizer: of it; what it holds is replaced.

    Raises:
        CheckpointError: it is of another model.
    """
    held = pieces_in(folder)
    weights, names = weights_of(model), dict(model.named_parameters())
    _require_same(folder, weights, held)
    optimizer.state.clear()
    moments: dict[str, Tensor] = {}
    for name, keys in moments_in(held).items():
        parameter = names[name]
        for key in keys:
            full = f"{MOMENTS}{name}/{key}"
            moments[full] = _room_for(held[full], parameter)
    read(folder, {**weights, **moments})
    fused = {
        parameter
        for group in optimizer.param_groups
        for parameter in group["params"]
        if group.get("fused")
    }
    for full, moment in moments.items():
        name, _, key = full.removeprefix(MOMENTS).rpartition("/")
        parameter = names[name]
        # a fused optimizer counts its steps where it computes
        is_counter = key == STEP and parameter in fused
        optimizer.state[parameter][key] = moment.to(parameter.device) if is_counter else moment


def moments_in(held: Mapping[str, TensorStorageMetadata]) -> dict[str, list[str]]:
    """By a parameter's name, the keys of what an optimizer kept of it."""
    found: dict[str, list[str]] = {}
    for full in held:
        if full.startswith(MOMENTS):
            name, _, key = full.removeprefix(MOMENTS).rpartition("/")
            found.setdefault(name, []).append(key)
    return found


def pieces_in(folder: Path) -> dict[str, TensorStorageMetadata]:
    """Shapes and precisions of what a checkpoint's pieces hold together, by name."""
    held = _Reader(folder / STATE).read_metadata().state_dict_metadata
    return {name: one for name, one in held.items() if isinstance(one, TensorStorageMetadata)}


def read(folder: Path, into: dict[str, Tensor]) -> None:
    """Fill tensors, sharded or not, with what a checkpoint holds under their names."""
    with warnings.catch_warnings():
        # that no other rank is asked is meant
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        load(dict(into), storage_reader=_Reader(folder / STATE), no_dist=True)


def _room_for(held: TensorStorageMetadata, parameter: Tensor) -> Tensor:
    """An empty moment: placed as its parameter is, where it is of its shape."""
    dtype = held.properties.dtype
    if held.size == parameter.shape and parameter.dim():
        return torch.zeros_like(parameter, dtype=dtype, requires_grad=False)
    return torch.zeros(held.size, dtype=dtype)


def _require_same(
    folder: Path, ours: Mapping[str, Tensor], held: Mapping[str, TensorStorageMetadata]
) -> None:
    theirs = {name: tuple(one.size) for name, one in held.items() if name.startswith(WEIGHTS)}
    wanted = {name: tuple(tensor.shape) for name, tensor in ours.items()}
    for name in sorted(theirs.keys() | wanted.keys()):
        if theirs.get(name) != wanted.get(name):
            has, wants = (some.get(name, "no such weight") for some in (theirs, wanted))
            raise CheckpointError(
                folder,
                f"holds a model of another shape: {name.removeprefix(WEIGHTS)} is {has} there and "
                f"{wants} in this run",
            )


class _Reader(FileSystemReader):
    """Finds the pieces without running what a stranger may have put into the list of them."""

    def read_metadata(self, *_: Any, **__: Any) -> Metadata:
        file = Path(self.path) / ".metadata"
        try:
            with file.open("rb") as opened:
                metadata: Metadata = _Plain(opened).load()
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            raise CheckpointError(file.parent.parent, f"{file.name}: {error}") from error
        return metadata


class _Plain(pickle.Unpickler):
    """Makes nothing but what torch's list of pieces consists of."""

    def find_class(self, module: str, name: str) -> Any:
        is_dtype = module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)
        if is_dtype or (module, name) in LISTED:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} has no place in it")
