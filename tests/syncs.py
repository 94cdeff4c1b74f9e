"""Operators that make the host wait for an accelerator, counted where there is none.

Each of them reads a number back: the size of what it returns, or the number itself. On a CPU they
cost nothing, which is why they creep in; here they are seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

ALWAYS = {
    "_local_scalar_dense",  # item, float, int, bool
    "is_nonzero",
    "equal",
    "nonzero",
    "argwhere",
    "masked_select",
    "bincount",
    "histc",
    "unique_consecutive",
    "unique_dim",
    "_unique",
    "_unique2",
}


BEFORE_OPERATORS = {"tolist": Tensor.tolist, "cpu": Tensor.cpu}
"""What on a CPU calls no operator at all."""


class Synchronisations(TorchDispatchMode):
    """Counts, by name, what would make the host wait.

    Transfers by `to` are not among them: on a CPU a copy from a device looks like any other.

    Example:
        with Synchronisations() as found:
            loss.backward()
        assert found.total == 0, found.counts
    """

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self._methods = _Methods(self.counts)

    def __enter__(self) -> Synchronisations:
        self._methods.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._methods.__exit__(*error)

    @property
    def total(self) -> int:
        return self.counts.total()

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[Any],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name.removeprefix("aten::")
        if name in ALWAYS or _sizes_by_content(name, args, kwargs):
            self.counts[name] += 1
        return func(*args, **kwargs)


class _Methods(TorchFunctionMode):
    def __init__(self, counts: Counter[str]) -> None:
        super().__init__()
        self._counts = counts

    def __torch_function__(
        self,
        func: Any,
        types: Sequence[Any],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        self._counts.update(name for name, method in BEFORE_OPERATORS.items() if func is method)
        return func(*args, **(kwargs or {}))


def _sizes_by_content(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether this call must look into a tensor to know the size of what it returns or writes."""
    if name == "repeat_interleave":
        return kwargs.get("output_size") is None
    if name in {"index", "index_put", "index_put_", "_index_put_impl_"}:
        return any(
            isinstance(at, Tensor) and at.dtype in (torch.bool, torch.uint8) for at in args[1]
        )
    if name == "one_hot":
        return True
    # sizes that are tensors
    return name in {"tensor_split", "split"} and any(isinstance(arg, Tensor) for arg in args[1:])
