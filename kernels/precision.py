"""In which precision matrix products are made: what is multiplied, and what sums are kept in.

    operand   autocast's precision where it is on, else the input's own
    bf16      operands rounded to bfloat16, as inference engines multiply them
    bf16x3    each operand as two bfloat16 numbers, three products: near float32, on tensor cores
    tf32x3    the same of TF32's numbers
    ieee      float32 (float64 of float64)

Sums are float32 (float64 of float64) in each: no product is rounded to its operands' precision. On
the CPU bf16x3 and tf32x3 are float32 itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

NAMES = ("operand", "bf16", "bf16x3", "tf32x3", "ieee")
TF32_BITS = ~0x1FFF
"""Of a float32, those that TF32 has."""


class NoSuchPrecision(ValueError):
    """There is none of this name, or not on this device; says what to take."""

    is_sentence = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """What a forward and its backward pass multiply in.

    Example:
        Precision(operand=torch.bfloat16)
    """

    operand: torch.dtype
    """Of what is multiplied."""
    is_split: bool = False
    """Each operand is the sum of two."""
    float32: str = ""
    """How float32 operands are multiplied on a GPU ("ieee", "tf32"); "" as torch is set."""

    @property
    def exact(self) -> torch.dtype:
        """Precision of logits, sums and gradients."""
        return torch.float64 if self.operand == torch.float64 else torch.float32

    def parts(self, operand: Tensor) -> tuple[Tensor, ...]:
        """What is multiplied for an operand: it, rounded, or a large and a small part."""
        if not self.is_split:
            rounded = operand.to(self.operand)
            # exact products of rounded numbers; a GPU's are so without a copy
            return (rounded if _has_exact_sums(rounded) else rounded.to(self.exact),)
        operand = operand.to(torch.float32)
        if self.operand == torch.float32:
            large = (operand.view(torch.int32) & TF32_BITS).view(torch.float32)
            return large, operand - large
        large = operand.to(self.operand)
        return large, (operand - large).to(self.operand)

    @contextmanager
    def as_named(self) -> Iterator[None]:
        """While this lasts, GPUs multiply float32 operands as this precision says."""
        matmul = torch.backends.cuda.matmul
        if not self.float32 or matmul.fp32_precision == self.float32:
            yield
            return
        before = matmul.fp32_precision
        matmul.fp32_precision = self.float32
        try:
            yield
        finally:
            matmul.fp32_precision = before


def product(out: Tensor, left: tuple[Tensor, ...], right: tuple[Tensor, ...]) -> Tensor:
    """`out` becomes left @ right of operands' parts, and is returned."""
    for index, (one, other) in enumerate(_pairs(left, right)):
        if index:
            _add(out, one, other)
        elif one.dtype == out.dtype:
            torch.mm(one, other, out=out)
        else:
            torch.mm(one, other, out_dtype=out.dtype, out=out)
    return out


def fresh_product(
    left: tuple[Tensor, ...], right: tuple[Tensor, ...], exact: torch.dtype
) -> Tensor:
    """left @ right of operands' parts, in new memory.

    A library that has no place for its result but a new one is not made to copy it.
    """
    if len(left) == 1 and left[0].dtype == exact:
        return left[0] @ right[0]
    size = (left[0].shape[0], right[0].shape[1])
    return product(torch.empty(size, dtype=exact, device=left[0].device), left, right)


def add_product(out: Tensor, left: tuple[Tensor, ...], right: tuple[Tensor, ...]) -> Tensor:
    """Add left @ right of operands' parts to `out`, which is returned."""
    for one, other in _pairs(left, right):
        _add(out, one, other)
    return out


def add_across(out: Tensor, left: tuple[Tensor, ...], right: tuple[Tensor, ...]) -> Tensor:
    """Add (left @ right).T of operands' parts to `out`, which is returned.

    For a right side that is much larger than the left: libraries on CPUs read rows, and would copy
    the other one's columns into rows first.
    """
    for one, other in _pairs(left, right):
        if one.is_cuda or one.dtype != out.dtype:
            _add(out, other.T, one.T)
        else:
            out.add_((one @ other).T)
    return out


def transposed(parts: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Parts of a matrix, transposed."""
    return tuple(part.T for part in parts)


def _pairs(left: tuple[Tensor, ...], right: tuple[Tensor, ...]) -> list[tuple[Tensor, Tensor]]:
    """Products that make up one, small ones first; small times small is below the rounding."""
    if len(left) == 1:
        return [(left[0], right[0])]
    return [(left[1], right[0]), (left[0], right[1]), (left[0], right[0])]


def _add(out: Tensor, one: Tensor, other: Tensor) -> None:
    if one.dtype == out.dtype:
        out.addmm_(one, other)
    else:
        torch.addmm(out, one, other, out_dtype=out.dtype, out=out)


def _has_exact_sums(operand: Tensor) -> bool:
    """Whether a product of such operands comes out in float32, unrounded, without a copy."""
    return operand.is_cuda and operand.dtype in (torch.bfloat16, torch.float16)


def named(name: str, hidden: Tensor) -> Precision:
    """The precision of a name, for products of `hidden`; ask inside autocast where that counts.

    Raises:
        NoSuchPrecision: there is none, or not on the device.
    """
    own, kind = hidden.dtype, hidden.device.type
    if name == "operand":
        if torch.is_autocast_enabled(kind) and own != torch.float64:
            return Precision(operand=torch.get_autocast_dtype(kind))
        return Precision(operand=own)
    if name == "ieee":
        return Precision(
            operand=torch.float64 if own == torch.float64 else torch.float32, float32="ieee"
        )
    if name not in NAMES:
        raise NoSuchPrecision(
            f'there is no precision "{name}" of products: take {", ".join(NAMES[:-1])} or '
            f"{NAMES[-1]}"
        )
    if why := _obstacle(kind):
        raise NoSuchPrecision(f'precision "{name}" is not to be had here ({why}): take "ieee"')
    if name == "bf16":
        return Precision(operand=torch.bfloat16)
    if kind == "cpu":
        return Precision(operand=torch.float32)
    if name == "bf16x3":
        return Precision(operand=torch.bfloat16, is_split=True)
    return Precision(operand=torch.float32, is_split=True, float32="tf32")


@cache
def _obstacle(kind: str) -> str:
    """Why a kind of device does not multiply bfloat16 or TF32; empty where it does."""
    if kind == "cpu":
        return ""
    if kind != "cuda":
        return f"it is for CPUs and NVIDIA's GPUs, not for {kind}"
    major, minor = torch.cuda.get_device_capability()
    if major < 8:
        return f"it needs compute capability 8.0, and this GPU has {major}.{minor}"
    return ""
