"""Where the tensors of a model's checkpoint lie in the parameters that the model has in memory.

transformers renames and fuses weights of some models while it loads them: the experts of a layer
become one matrix. Its own way back is run here on tensors without memory; the strides of what comes
out say of which parameter, and which part, each tensor of the checkpoint is a view. Nothing is
gathered, and nothing is written per model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from munro.rollout.transfer.boxes import NotABox
from munro.rollout.transfer.types import Box, Into


def views(model: Any, shapes: Mapping[str, Sequence[int]]) -> dict[str, tuple[Into, Box]]:
    """By a tensor's name in the checkpoint, where it lies and all of it as a box.

    Args:
        model: the transformers model.
        shapes: of its parameters and saved buffers, whole, by its own names.

    Raises:
        NotABox: a tensor is no view of one parameter; named.
    """
    from transformers.core_model_loading import revert_weight_conversion

    state = {name: torch.empty(tuple(shape), device="meta") for name, shape in shapes.items()}
    own = {tensor.untyped_storage()._cdata: name for name, tensor in state.items()}
    with _NoCopies():  # type: ignore[no-untyped-call]
        try:
            saved = dict(revert_weight_conversion(model, dict(state)))
        except RuntimeError as error:
            raise NotABox(_no_view("a weight", str(error).splitlines()[0])) from error
    found = {}
    for name, tensor in saved.items():
        parameter = own.get(tensor.untyped_storage()._cdata)
        if parameter is None:
            raise NotABox(_no_view(name, "it is made of several parameters"))
        into = _into(parameter, state[parameter], tensor)
        if into is None:
            raise NotABox(_no_view(name, f"it is no box of {parameter}"))
        found[name] = (into, Box.whole(tensor.shape))
    return found


def seen(parameter: Tensor, own: Box, into: Into, box: Box) -> Tensor:
    """A box of a checkpoint's tensor, as a view of the part of the parameter that is here.

    Args:
        parameter: the part.
        own: which part it is.
        into: where the checkpoint's tensor lies in the whole parameter.
        box: of the checkpoint's tensor; must lie in the part.
    """
    order = into.order or tuple(range(len(box.start)))
    start, stop = list(into.start), [at + 1 for at in into.start]
    for dim, a, b in zip(order, box.start, box.stop, strict=True):
        start[dim], stop[dim] = into.start[dim] + a, into.start[dim] + b
    part = parameter[Box(tuple(start), tuple(stop)).within(own).slices]
    for dim in reversed(range(part.dim())):
        if dim not in order:
            part = part.select(dim, 0)
    kept = sorted(order)
    return part.permute([kept.index(dim) for dim in order])


def _into(parameter: str, whole: Tensor, part: Tensor) -> Into | None:
    """Where `part` lies in `whole`, by its strides; None where that is no box."""
    left, start = part.storage_offset(), []
    for stride in whole.stride():
        start.append(left // stride if stride else 0)
        left -= start[-1] * stride
    order: list[int] = []
    for size, stride in zip(part.shape, part.stride(), strict=True):
        fits = (
            dim
            for dim, (most, step) in enumerate(zip(whole.shape, whole.stride(), strict=True))
            if dim not in order and step == stride and start[dim] + size <= most
        )
        dim = min(fits, key=lambda dim: whole.shape[dim], default=None)
        if dim is None:
            return None
        order.append(dim)
    plain = tuple(range(whole.dim()))
    return Into(
        parameter=parameter, start=tuple(start), order=() if tuple(order) == plain else tuple(order)
    )


def _no_view(name: str, why: str) -> str:
    return (
        f"{name} of the model's checkpoint is not a part of one of its parameters ({why}): it "
        'cannot be sent as it lies. Set sync.transport = "file".'
    )


class _NoCopies(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A copy would be its original in another place: here it stays a view of it."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        if func is torch.ops.aten.clone.default:
            return torch.ops.aten.alias.default(args[0])
        return func(*args, **(kwargs or {}))
