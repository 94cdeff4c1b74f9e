"""torch's products of two float32 matrices by oneDNN: `mm` and `addmm` of the CPU, overridden.

Forward and backward of a linear layer end in these, whoever wrote the layer; autograd, autocast and
sharding have done their part before. What is too small to be worth a call, has another type, or
asks for more than a product, goes to the kernel that torch had.

Shapes: left [m, k], right [k, n].
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

LEAST_SIDE = 16
"""A matrix that is packed for fewer rows than this is not worth packing."""
LEAST_WORK = 1 << 23
"""Multiplications from which on oneDNN is faster even where it meets a shape for the first time in
a few layers: it makes code for each, 0.3 ms."""

_installed: list[torch.library.Library] = []


def install() -> None:
    """Override them in this process; again changes nothing."""
    if _installed:
        return
    library = torch.library.Library("aten", "IMPL")  # type: ignore[no-untyped-call]
    with warnings.catch_warnings():
        # that they are overridden is what we want
        warnings.simplefilter("ignore", UserWarning)
        for name, make in OVERRIDES.items():
            theirs = torch.library.get_kernel(f"aten::{name}", "CPU")
            library.impl(name, make(theirs.call_boxed), "CPU", with_keyset=True)  # type: ignore[no-untyped-call]
    _installed.append(library)


def uninstall() -> None:
    """Give torch its own back: for tests that hold one against the other."""
    while _installed:
        _installed.pop()._destroy()  # type: ignore[no-untyped-call]


def suits(left: Tensor, right: Tensor) -> bool:
    """Whether a product is oneDNN's to make."""
    if left.dtype is not torch.float32 or right.dtype is not torch.float32:
        return False
    if left.dim() != 2 or right.dim() != 2:
        return False
    (m, k), (rows, n) = left.shape, right.shape
    return k == rows and min(m, k, n) >= LEAST_SIDE and m * k * n >= LEAST_WORK


def product(left: Tensor, right: Tensor, bias: Tensor | None = None) -> Tensor:
    """[m, n] left @ right (+ bias [n]), of matrices that suit."""
    torch.get_num_threads()  # a new thread takes its share of cores over only when it is asked
    if not _is_plain(right):
        right = right.contiguous()
    made: Tensor = torch.ops.mkldnn._linear_pointwise.default(left, right.T, bias, "none", [], "")
    return made


def _is_plain(matrix: Tensor) -> bool:
    """Whether its rows or its columns lie whole in memory, side by side and apart."""
    (rows, columns), (down, along) = matrix.shape, matrix.stride()
    return (along == 1 and down >= columns) or (down == 1 and along >= rows)


Kernel = Callable[..., Any]
"""Of torch: takes a set of dispatch keys and an operator's arguments."""


def _mm(theirs: Kernel) -> Kernel:
    def mm(keys: Any, left: Tensor, right: Tensor) -> Tensor:
        if suits(left, right):
            return product(left, right)
        made: Tensor = theirs(keys, left, right)
        return made

    return mm


def _mm_out(theirs: Kernel) -> Kernel:
    def mm_out(keys: Any, left: Tensor, right: Tensor, *, out: Tensor) -> Tensor:
        if suits(left, right) and _fits(out, left, right):
            return out.copy_(product(left, right))
        theirs(keys, left, right, out=out)
        return out

    return mm_out


def _addmm(theirs: Kernel) -> Kernel:
    def addmm(
        keys: Any, added: Tensor, left: Tensor, right: Tensor, *, beta: float = 1, alpha: float = 1
    ) -> Tensor:
        if beta == alpha == 1 and added.dtype is torch.float32 and suits(left, right):
            if added.shape == right.shape[1:]:
                return product(left, right, added.contiguous())
            if _fits(added, left, right):
                return product(left, right).add_(added)
        made: Tensor = theirs(keys, added, left, right, beta=beta, alpha=alpha)
        return made

    return addmm


def _addmm_(theirs: Kernel) -> Kernel:
    def addmm_(
        keys: Any, added: Tensor, left: Tensor, right: Tensor, *, beta: float = 1, alpha: float = 1
    ) -> Tensor:
        if beta == alpha == 1 and suits(left, right) and _fits(added, left, right):
            return added.add_(product(left, right))
        theirs(keys, added, left, right, beta=beta, alpha=alpha)
        return added

    return addmm_


def _fits(tensor: Tensor, left: Tensor, right: Tensor) -> bool:
    """Whether it has the product's own type and shape."""
    return tensor.dtype is torch.float32 and tensor.shape == (left.shape[0], right.shape[1])


OVERRIDES: dict[str, Callable[[Kernel], Kernel]] = {
    "mm": _mm,
    "mm.out": _mm_out,
    "addmm": _addmm,
    "addmm_": _addmm_,
}
