"""NVIDIA's GPUs: tiles of logits by the library's products with float32 sums, the rest in Triton.

    forward    product -> one pass over its rows: largest, sum, token's logit   (a tile stays in L2)
    backward   product again -> one pass: derivatives, rounded to operands -> two products

A block of columns of the matrix is cast once a pass. The derivatives of `Tiling.deep` positions
stand together, so that the matrix's gradient is written once and not once a tile. Every sum has a
fixed order and no thread adds into another's number: the same call gives the same bits. Nothing
here waits for the device.

Shape suffixes: T = positions, D = model width, V = vocabulary, M = kept candidates of all positions
together, t and v = one tile of T and V.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from munro.kernels.linear_logprob.call import Call, plainly, tiles
from munro.kernels.precision import add_product, product, transposed

LEAST_BLOCK = 16
LAUNCH = {"enable_fp_fusion": True}
"""Said aloud, for Triton's default is to change and would change bits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiling:
    """Sizes of what exists at once."""

    rows: int = 1024
    """Positions of a tile of float32 logits; with 8192 columns it is 32 MiB, which L2 holds."""
    columns: int = 8192
    """Of the vocabulary, in a tile; a program holds a row of it in registers."""
    deep: int = 8192
    """Positions whose derivatives by a block of columns exist at once."""


TILING = Tiling()


def linear_logprob(
    hidden_TD: Tensor,
    weight_VD: Tensor,
    token_T: Tensor,
    kept: tuple[Tensor, Tensor] | None,
    call: Call,
    *,
    tiling: Tiling | None = None,
) -> tuple[Tensor, Tensor | None]:
    """See `munro.kernels.linear_logprob`; `kept` is on the device too."""
    ids_M, starts = kept if kept is not None and len(kept[0]) else (None, None)
    tiling = tiling or TILING
    # a tile of a small problem is no larger than the problem
    tiling = replace(tiling, columns=min(tiling.columns, len(weight_VD)))
    logp_T, entropy_T = _Fused.apply(hidden_TD, weight_VD, token_T, ids_M, starts, call, tiling)  # type: ignore[no-untyped-call]
    return logp_T, entropy_T


def warps_of(block: int) -> int:
    """Of a program that holds so many numbers: 16 numbers a thread, where there are enough."""
    return min(16, max(4, block // 512))


class _Rows:
    """Row passes over tiles of one call: their memory, and their launches."""

    def __init__(
        self,
        token_T: Tensor,
        ids_M: Tensor | None,
        starts: Tensor | None,
        call: Call,
        tiling: Tiling,
    ) -> None:
        self._token, self._ids, self._starts, self._call = token_T, ids_M, starts, call
        device, rows = token_T.device, max(1, min(tiling.rows, len(token_T)))
        # rows begin where vector loads can, whatever the vocabulary's size
        self._width = -(-tiling.columns // LEAST_BLOCK) * LEAST_BLOCK
        self._block = max(LEAST_BLOCK, triton.next_power_of_2(tiling.columns))
        self.warps = warps_of(self._block)
        self._tile = torch.empty(rows, self._width, dtype=torch.float32, device=device)
        self._marks = (
            None
            if ids_M is None
            else torch.empty(rows, self._width, dtype=torch.int8, device=device)
        )

    def room(self, num_rows: int, dtype: torch.dtype) -> Tensor:
        """[num_rows, v] memory for derivatives by a block of columns."""
        return torch.empty(num_rows, self._width, dtype=dtype, device=self._tile.device)

    def logits(
        self, hidden: tuple[Tensor, ...], weight: tuple[Tensor, ...], rows: slice
    ) -> Tensor:
        """[t, v] products of a tile, before anything is done to them."""
        out = self._tile[: rows.stop - rows.start, : len(weight[0])]
        return product(out, tuple(part[rows] for part in hidden), transposed(weight))

    def gather(self, raw_tv: Tensor, state: Tensor, rows: slice, first: int) -> None:
        """Add a tile to what is known of its positions ([4, T]: see `_State`)."""
        marks, starts = self._mark(raw_tv, rows, first)
        top, total, dot, chosen = (line[rows] for line in state)
        _gather[(len(raw_tv),)](
            raw_tv, raw_tv.stride(0), marks, self._token[rows], starts, top, total, dot, chosen,
            first, raw_tv.shape[1], *self._scale(),
            SOFTCAP=self._call.scale.softcap != 0, ENTROPY=self._call.entropy,
            MASKED=self._ids is not None, BLOCK=self._block, num_warps=self.warps, **LAUNCH,
        )  # fmt: skip

    def slopes(
        self,
        raw_tv: Tensor,
        known: tuple[Tensor, Tensor, Tensor, Tensor],
        out: tuple[Tensor, ...],
        rows: slice,
        first: int,
    ) -> None:
        """Write derivatives by a tile's products.

        Args:
            known: [T] norms, entropies, gradients of log-probabilities and of entropies.
            out: [t, v] of the operands' precision; two of them where operands are split.
        """
        marks, starts = self._mark(raw_tv, rows, first)
        norm, entropy, grad, slant = (line[rows] for line in known)
        _slopes[(len(raw_tv),)](
            raw_tv, raw_tv.stride(0), marks, self._token[rows], starts, norm, entropy, grad, slant,
            out[0], out[-1], out[0].stride(0), first, raw_tv.shape[1], *self._scale(),
            SOFTCAP=self._call.scale.softcap != 0, ENTROPY=known[3] is not known[2],
            MASKED=self._ids is not None, SPLIT=len(out) > 1, BLOCK=self._block,
            num_warps=self.warps, **LAUNCH,
        )  # fmt: skip

    def _scale(self) -> tuple[float, float]:
        return self._call.scale.temperature, self._call.scale.softcap

    def _mark(self, raw_tv: Tensor, rows: slice, first: int) -> tuple[Tensor, Tensor]:
        """[t, v] int8 1 where a position with a nucleus may sample a token, and offsets."""
        if self._ids is None or self._starts is None or self._marks is None:
            return self._token, self._token  # neither is looked at
        starts = self._starts[rows.start :]
        _mark[(len(raw_tv),)](
            self._ids, starts, self._marks, self._marks.stride(0), first, raw_tv.shape[1],
            BLOCK=self._block, num_warps=self.warps, **LAUNCH,
        )  # fmt: skip
        return self._marks, starts


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_TD: Tensor,
        weight_VD: Tensor,
        token_T: Tensor,
        ids_M: Tensor | None,
        starts: Tensor | None,
        call: Call,
        tiling: Tiling,
    ) -> tuple[Tensor, Tensor | None]:
        hidden = call.precision.parts(hidden_TD)
        rows_of = _Rows(token_T, ids_M, starts, call, tiling)
        state = torch.empty(4, len(token_T), dtype=torch.float32, device=hidden_TD.device)
        for columns in tiles(len(weight_VD), tiling.columns):
            weight = call.precision.parts(weight_VD[columns])
            for rows in tiles(len(token_T), tiling.rows):
                raw_tv = rows_of.logits(hidden, weight, rows)
                rows_of.gather(raw_tv, state, rows, columns.start)
        top_T, total_T, dot_T, chosen_T = state
        log_total_T = total_T.log()
        norm_T = top_T + log_total_T
        entropy_T = log_total_T - dot_T / total_T if call.entropy else None
        ctx.save_for_backward(hidden_TD, weight_VD, token_T, ids_M, starts, norm_T, entropy_T)
        ctx.call, ctx.tiling = call, tiling
        ctx.set_materialize_grads(False)
        return chosen_T - norm_T, entropy_T

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_T: Tensor | None, slant_T: Tensor | None) -> tuple[Any, ...]:
        hidden_TD, weight_VD, token_T, ids_M, starts, norm_T, entropy_T = ctx.saved_tensors
        call: Call = ctx.call
        grad_T = torch.zeros_like(norm_T) if grad_T is None else grad_T.float().contiguous()
        if slant_T is None:
            known = norm_T, norm_T, grad_T, grad_T
        else:
            known = norm_T, entropy_T, grad_T, slant_T.float().contiguous()
        rows_of = _Rows(token_T, ids_M, starts, call, ctx.tiling)
        with plainly(hidden_TD), call.precision.as_named():
            grads = _products(hidden_TD, weight_VD, rows_of, known, call, ctx)
        return (*grads, *(None,) * 5)


def _products(
    hidden_TD: Tensor,
    weight_VD: Tensor,
    rows_of: _Rows,
    known: tuple[Tensor, Tensor, Tensor, Tensor],
    call: Call,
    ctx: Any,
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of hidden states and of the matrix, where they are wanted."""
    wants_hidden, wants_weight = ctx.needs_input_grad[:2]
    tiling, num_positions = ctx.tiling, len(hidden_TD)
    hidden = call.precision.parts(hidden_TD)
    grad_hidden = torch.empty_like(hidden_TD, dtype=torch.float32) if wants_hidden else None
    grad_weight, is_fresh = _matrix_for(weight_VD, call) if wants_weight else (None, False)
    if not num_positions and grad_weight is not None and is_fresh:
        grad_weight.zero_()
    num = 2 if call.precision.is_split and call.precision.operand.itemsize == 2 else 1
    deep = max(1, min(tiling.deep, num_positions))
    memory = [rows_of.room(deep, call.precision.operand) for _ in range(num)]
    for columns in tiles(len(weight_VD), tiling.columns):
        weight = call.precision.parts(weight_VD[columns])
        sum_vD = None if grad_weight is None else _sum_of(grad_weight, columns)
        for positions in tiles(num_positions, tiling.deep):
            height, width = positions.stop - positions.start, columns.stop - columns.start
            slopes = tuple(one[:height, :width] for one in memory)
            for part in tiles(height, tiling.rows):
                rows = slice(positions.start + part.start, positions.start + part.stop)
                raw_tv = rows_of.logits(hidden, weight, rows)
                rows_of.slopes(raw_tv, known, tuple(s[part] for s in slopes), rows, columns.start)
            if num == 1:
                slopes = call.precision.parts(slopes[0])
            if grad_hidden is not None:
                into = product if columns.start == 0 else add_product
                into(grad_hidden[positions], slopes, weight)
            if sum_vD is not None:
                into = product if is_fresh and positions.start == 0 else add_product
                into(sum_vD, transposed(slopes), tuple(one[positions] for one in hidden))
        if sum_vD is not None and grad_weight is not None and num_positions:
            if sum_vD.dtype != grad_weight.dtype:
                grad_weight[columns] = sum_vD
    return (
        None if grad_hidden is None else grad_hidden.to(hidden_TD.dtype),
        None if call.adds else grad_weight,
    )


def _matrix_for(weight: Tensor, call: Call) -> tuple[Tensor, bool]:
    """[V, D] the matrix's gradient, and whether nothing is in it yet."""
    if not call.adds:
        return torch.empty_like(weight), True
    if weight.grad is None:
        weight.grad = torch.empty_like(weight)
        return weight.grad, True
    return weight.grad, False


def _sum_of(grad_weight: Tensor, columns: slice) -> Tensor:
    """[v, D] float32, where a block of the gradient is added up."""
    block = grad_weight[columns]
    return block if block.dtype == torch.float32 else torch.empty_like(block, dtype=torch.float32)


@triton.jit
def _scaled(raw, temperature, softcap, SOFTCAP: tl.constexpr):  # type: ignore[no-untyped-def]
    """Logits of products, and the derivative."""
    if SOFTCAP:
        # tanh by the exponential of what is below 0, which cannot overflow
        ratio = raw / softcap
        small = tl.exp(-2.0 * tl.abs(ratio))
        tanh = (1.0 - small) / (1.0 + small)
        tanh = tl.where(ratio < 0, -tanh, tanh)
        logit = softcap * tanh / temperature
        slope = (1.0 - tanh * tanh) / temperature
    else:
        logit = raw / temperature
        slope = 1.0 / temperature
    return logit, slope


@triton.jit(do_not_specialize=["first"])
def _mark(ids, starts, marks, stride, first, width, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
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


@triton.jit(do_not_specialize=["first"])
def _gather(  # type: ignore[no-untyped-def]
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
    logit, _ = _scaled(
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


@triton.jit(do_not_specialize=["first"])
def _slopes(  # type: ignore[no-untyped-def]
    raw, stride, marks, token, starts, norm, entropy, grad, slant, large, small, out_stride,
    first, width, temperature, softcap,
    SOFTCAP: tl.constexpr, ENTROPY: tl.constexpr, MASKED: tl.constexpr, SPLIT: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """One program a position: derivatives by a row of products, as operands of the next ones."""
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, BLOCK)
    inside = at < width
    logit, slope = _scaled(
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
