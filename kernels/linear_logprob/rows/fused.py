"""Library products with float32 sums, and one pass in Triton over each row of what they give.

A tile of logits is small enough to stay in the card's L2 from the product to the pass.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from munro.kernels.linear_logprob.call import Call
from munro.kernels.precision import product, transposed

LEAST_BLOCK = 16
LAUNCH = {"enable_fp_fusion": True}
"""Said aloud, for Triton's default is to change and would change bits."""


def warps_of(block: int) -> int:
    """Of a program that holds so many numbers: 16 numbers a thread, where there are enough."""
    return min(16, max(4, block // 512))


def padded(columns: int) -> int:
    """Numbers from one row to the next, so that each begins where vector loads can."""
    return -(-columns // LEAST_BLOCK) * LEAST_BLOCK


class Rows:
    """Row passes over tiles of one call: their memory, and their launches.

    Args:
        token_T: [T] int64.
        kept: (ids_M, starts) on the device, or None.
        call: how.
        rows: most positions of a tile.
        columns: most columns of a tile.
    """

    def __init__(
        self,
        token_T: Tensor,
        kept: tuple[Tensor, Tensor] | None,
        call: Call,
        *,
        rows: int,
        columns: int,
    ) -> None:
        self._token, self._kept, self._call = token_T, kept, call
        self._block = max(LEAST_BLOCK, triton.next_power_of_2(columns))
        size = max(1, min(rows, len(token_T))), padded(columns)
        device = token_T.device
        self._tile = torch.empty(size, dtype=torch.float32, device=device)
        self._marks = None if kept is None else torch.empty(size, dtype=torch.int8, device=device)

    def gather(
        self,
        hidden: tuple[Tensor, ...],
        weight: tuple[Tensor, ...],
        state: Tensor,
        rows: slice,
        first: int,
    ) -> None:
        """Add the logits of some positions by a block of columns to what is known ([4, T])."""
        raw_tv = self._product(hidden, weight, rows)
        marks, starts = self._mark(raw_tv, rows, first)
        top, total, dot, chosen = (line[rows] for line in state)
        gather_rows[(len(raw_tv),)](
            raw_tv, raw_tv.stride(0), marks, self._token[rows], starts, top, total, dot, chosen,
            first, raw_tv.shape[1], *self._scale(),
            SOFTCAP=self._call.scale.softcap != 0, ENTROPY=self._call.entropy,
            MASKED=self._kept is not None, BLOCK=self._block, num_warps=warps_of(self._block),
            **LAUNCH,
        )  # fmt: skip

    def slopes(
        self,
        hidden: tuple[Tensor, ...],
        weight: tuple[Tensor, ...],
        known: tuple[Tensor, Tensor, Tensor, Tensor],
        out: tuple[Tensor, ...],
        rows: slice,
        first: int,
    ) -> None:
        """Write derivatives by the products of some positions with a block of columns.

        Args:
            known: [T] norms, entropies, gradients of log-probabilities and of entropies; the last
                the very tensor before it where the entropy has none.
            out: [t, v] of the operands' precision; two of them where operands are split.
        """
        raw_tv = self._product(hidden, weight, rows)
        marks, starts = self._mark(raw_tv, rows, first)
        norm, entropy, grad, slant = (line[rows] for line in known)
        slope_rows[(len(raw_tv),)](
            raw_tv, raw_tv.stride(0), marks, self._token[rows], starts, norm, entropy, grad, slant,
            out[0], out[-1], out[0].stride(0), first, raw_tv.shape[1], *self._scale(),
            SOFTCAP=self._call.scale.softcap != 0, ENTROPY=known[3] is not known[2],
            MASKED=self._kept is not None, SPLIT=len(out) > 1, BLOCK=self._block,
            num_warps=warps_of(self._block), **LAUNCH,
        )  # fmt: skip

    def _product(
        self, hidden: tuple[Tensor, ...], weight: tuple[Tensor, ...], rows: slice
    ) -> Tensor:
        out = self._tile[: rows.stop - rows.start, : len(weight[0])]
        return product(out, tuple(part[rows] for part in hidden), transposed(weight))

    def _scale(self) -> tuple[float, float]:
        return self._call.scale.temperature, self._call.scale.softcap

    def _mark(self, raw_tv: Tensor, rows: slice, first: int) -> tuple[Tensor, Tensor]:
        """[t, v] int8 1 where a position with a nucleus may sample a token, and offsets."""
        if self._kept is None or self._marks is None:
            return self._token, self._token  # neither is looked at
        ids, starts = self._kept[0], self._kept[1][rows.start :]
        mark_rows[(len(raw_tv),)](
            ids, starts, self._marks, self._marks.stride(0), first, raw_tv.shape[1],
            BLOCK=self._block, num_warps=warps_of(self._block), **LAUNCH,
        )  # fmt: skip
        return self._marks, starts


@triton.jit  # type: ignore[untyped-decorator]
def scaled(raw, temperature, softcap, SOFTCAP: tl.constexpr):  # type: ignore[no-untyped-def]
    """Logits of products, and the derivative."""
    warmth = 1.0 / temperature
    if SOFTCAP:
        # tanh by the exponential of what is below 0, which cannot overflow
        ratio = raw * (1.0 / softcap)
        small = tl.exp(-2.0 * tl.abs(ratio))
        tanh = (1.0 - small) / (1.0 + small)
        tanh = tl.where(ratio < 0, -tanh, tanh)
        logit = tanh * (softcap * warmth)
        slope = (1.0 - tanh * tanh) * warmth
    else:
        logit = raw * warmth
        slope = warmth
    return logit, slope


@triton.jit(do_not_specialize=["first"])  # type: ignore[untyped-decorator]
def mark_rows(ids, starts, marks, stride, first, width, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """One program a position: 0 in its row of `marks`, 1 at what it keeps of this tile."""
    row = tl.program_id(0).to(tl.int64)
    begin, end = tl.load(starts + row), tl.load(starts + row + 1)
    if end > begin:
        at = tl.arange(0, BLOCK)
        tl.store(marks + row * stride + at, tl.zeros((BLOCK,), tl.int8), mask=at < width)
        tl.debug_barrier()  # other threads wrote the zeros
        for start in range(begin, end, BLOCK):
            column = tl.load(ids + start + at, mask=start + at < end, other=-1) - first
            here = (column >= 0) & (column < width)
            tl.store(marks + row * stride + column, tl.full((BLOCK,), 1, tl.int8), mask=here)


@triton.jit(do_not_specialize=["first"])  # type: ignore[untyped-decorator]
def gather_rows(  # type: ignore[no-untyped-def]
    raw, stride, marks, token, starts, top, total, dot, chosen, first, width, temperature, softcap,
    SOFTCAP: tl.constexpr, ENTROPY: tl.constexpr, MASKED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One program a position: a row of products joins what is known of the position.

    `top` is the largest logit, `total` the sum of exponentials below it, `dot` that of exponentials
    times their distance from it, `chosen` the token's logit. What memory held is not looked at in
    the first tile.
    """
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, BLOCK)
    inside = at < width
    logit, _ = scaled(
        tl.load(raw + row * stride + at, mask=inside, other=0.0), temperature, softcap, SOFTCAP
    )
    if MASKED:
        looked_at = tl.where(tl.load(starts + row + 1) > tl.load(starts + row), width, 0)
        allowed = tl.load(marks + row * stride + at, mask=at < looked_at, other=1)
        inside = inside & (allowed != 0)
    logit = tl.where(inside, logit, float("-inf"))
    seen = first > 0
    old_top = tl.load(top + row, mask=seen, other=float("-inf"))
    old_total = tl.load(total + row, mask=seen, other=0.0)
    new_top = tl.maximum(old_top, tl.max(logit, 0))
    # with nothing allowed so far the top stays at -inf, and -inf - -inf is no number
    shift = tl.where(new_top == float("-inf"), 0.0, new_top)
    share = tl.exp(logit - shift)
    down = tl.exp(old_top - shift)
    tl.store(top + row, new_top)
    tl.store(total + row, old_total * down + tl.sum(share, 0))
    if ENTROPY:
        old_dot = tl.load(dot + row, mask=seen, other=0.0)
        moved = tl.where(old_top == float("-inf"), 0.0, old_top - shift)
        away = tl.where(inside, logit - shift, 0.0)
        new_dot = down * (old_dot + old_total * moved) + tl.sum(share * away, 0)
        tl.store(dot + row, new_dot)
    column = tl.load(token + row) - first
    old_chosen = tl.load(chosen + row, mask=seen, other=float("nan"))
    here = tl.sum(tl.where(at == column, logit, 0.0), 0)
    tl.store(chosen + row, tl.where((column >= 0) & (column < width), here, old_chosen))


@triton.jit(do_not_specialize=["first"])  # type: ignore[untyped-decorator]
def slope_rows(  # type: ignore[no-untyped-def]
    raw, stride, marks, token, starts, norm, entropy, grad, slant, large, small, out_stride,
    first, width, temperature, softcap,
    SOFTCAP: tl.constexpr, ENTROPY: tl.constexpr, MASKED: tl.constexpr, SPLIT: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """One program a position: derivatives by a row of products, as operands of the next ones."""
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, BLOCK)
    inside = at < width
    logit, slope = scaled(
        tl.load(raw + row * stride + at, mask=inside, other=0.0), temperature, softcap, SOFTCAP
    )
    up = tl.load(grad + row)
    logp = logit - tl.load(norm + row)
    share = tl.exp(logp)
    weight = up
    if ENTROPY:
        finite = tl.where(share > 0, logp, 0.0)
        weight = up + tl.load(slant + row) * (finite + tl.load(entropy + row))
    value = tl.where(at == tl.load(token + row) - first, up, 0.0) - weight * share
    value = value * slope
    if MASKED:
        looked_at = tl.where(tl.load(starts + row + 1) > tl.load(starts + row), width, 0)
        allowed = tl.load(marks + row * stride + at, mask=at < looked_at, other=1)
        value = tl.where(allowed != 0, value, 0.0)
    rounded = value.to(large.dtype.element_ty)
    tl.store(large + row * out_stride + at, rounded, mask=inside)
    if SPLIT:
        rest = (value - rounded.to(tl.float32)).to(small.dtype.element_ty)
        tl.store(small + row * out_stride + at, rest, mask=inside)
