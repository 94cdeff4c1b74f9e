"""NVIDIA's GPUs: the two passes, block of columns after block of columns.

    forward    a block's logits -> what each position's come to
    backward   its logits again -> derivatives, as operands -> two products, summed in float32

A block of the matrix is cast once a pass. The derivatives of `Tiling.deep` positions stand
together, so that the matrix's gradient is written once and not once a tile. Every sum has a fixed
order and no thread adds into another's number: the same call gives the same bits. Nothing waits for
the device.

Shape suffixes: T = positions, D = model width, V = vocabulary, M = kept candidates of all positions
together, t and v = one tile of T and V.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from munro.kernels.gradient import dtype_of
from munro.kernels.linear_logprob.call import Call, plainly, tiles
from munro.kernels.linear_logprob.gemm.fused import ROOMY, Gemm, Shape
from munro.kernels.linear_logprob.rows.fused import Rows, padded
from munro.kernels.precision import add_product, product, transposed


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiling:
    """Which way logits are made, and sizes of what exists at once."""

    way: str = "rows"
    """"rows": the library's products and a pass over their rows. "gemm": a product of our own, for
    operands of 16 bits and no nucleus; others go by rows."""
    rows: int = 4096
    """Positions of a tile of float32 logits. A tile that L2 holds (1024) saves no time on an H200:
    the host cannot launch as fast, and where it can the products hide the passes."""
    columns: int = 8192
    """Of the vocabulary, in a block; by rows, a program holds a row of it in registers."""
    deep: int = 8192
    """Positions whose derivatives by a block of columns exist at once."""
    program: Shape = field(default_factory=Shape)
    """Of our own product."""


TILING: Tiling | None = None
"""What is used whatever the problem; None for what `tiling_of` says."""


def tiling_of(width: int, call: Call) -> Tiling:
    """By a model's width; from a card (H200) and fixed, for a search at run time changes bits.

    The product of our own saves two passes over float32 logits, the library's is 5% faster: narrow
    products are short beside the passes, and from some 3,000 on they are not.
    """
    if width > 3072:
        return Tiling()
    return Tiling(way="gemm", program=ROOMY if call.scale.softcap else Shape())


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
    tiling = tiling or TILING or tiling_of(hidden_TD.shape[1], call)
    # a block of a small problem is no larger than the problem
    tiling = replace(tiling, columns=min(tiling.columns, len(weight_VD)))
    logp_T, entropy_T = _Fused.apply(hidden_TD, weight_VD, token_T, ids_M, starts, call, tiling)  # type: ignore[no-untyped-call]
    return logp_T, entropy_T


def _maker(
    token_T: Tensor, ids_M: Tensor | None, starts: Tensor | None, call: Call, tiling: Tiling
) -> tuple[Rows | Gemm, int]:
    """What makes logits, and how many positions of them at once."""
    precision = call.precision
    is_narrow = precision.operand.itemsize == 2 and not precision.is_split
    if tiling.way == "gemm" and is_narrow and ids_M is None:
        return Gemm(token_T, call, tiling.columns, tiling.program), tiling.deep
    kept = None if ids_M is None or starts is None else (ids_M, starts)
    return Rows(token_T, kept, call, rows=tiling.rows, columns=tiling.columns), tiling.rows


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
        maker, step = _maker(token_T, ids_M, starts, call, tiling)
        state = torch.empty(4, len(token_T), dtype=torch.float32, device=hidden_TD.device)
        for columns in tiles(len(weight_VD), tiling.columns):
            weight = call.precision.parts(weight_VD[columns])
            for rows in tiles(len(token_T), step):
                maker.gather(hidden, weight, state, rows, columns.start)
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
        call = ctx.call
        grad_T = torch.zeros_like(norm_T) if grad_T is None else grad_T.float().contiguous()
        if slant_T is None:
            known = norm_T, norm_T, grad_T, grad_T
        else:
            known = norm_T, entropy_T, grad_T, slant_T.float().contiguous()
        made = _maker(token_T, ids_M, starts, call, ctx.tiling)
        with plainly(hidden_TD), call.precision.as_named():
            grads = _products(hidden_TD, weight_VD, made, known, ctx)
        return (*grads, *(None,) * 5)


def _products(
    hidden_TD: Tensor,
    weight_VD: Tensor,
    made: tuple[Rows | Gemm, int],
    known: tuple[Tensor, Tensor, Tensor, Tensor],
    ctx: Any,
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of hidden states and of the matrix, where they are wanted."""
    call, tiling, (maker, step) = ctx.call, ctx.tiling, made
    wants_hidden, wants_weight = ctx.needs_input_grad[:2]
    hidden = call.precision.parts(hidden_TD)
    grad_hidden = torch.empty_like(hidden_TD, dtype=torch.float32) if wants_hidden else None
    grad_weight, is_fresh = _matrix_for(weight_VD, call) if wants_weight else (None, False)
    if grad_weight is not None and is_fresh and not len(hidden_TD):
        grad_weight.zero_()
    memory = _room(len(hidden_TD), call, tiling, hidden_TD.device)
    for columns in tiles(len(weight_VD), tiling.columns):
        weight = call.precision.parts(weight_VD[columns])
        sum_vD = None if grad_weight is None else _sum_of(grad_weight, columns)
        for deep in tiles(len(hidden_TD), tiling.deep):
            height, width = deep.stop - deep.start, columns.stop - columns.start
            slopes = tuple(one[:height, :width] for one in memory)
            for part in tiles(height, step):
                rows = slice(deep.start + part.start, deep.start + part.stop)
                out = tuple(one[part] for one in slopes)
                maker.slopes(hidden, weight, known, out, rows, columns.start)
            if len(slopes) == 1:
                slopes = call.precision.parts(slopes[0])
            if grad_hidden is not None:
                into = add_product if columns.start else product
                into(grad_hidden[deep], slopes, weight)
            if sum_vD is not None:
                into = add_product if deep.start or not is_fresh else product
                into(sum_vD, transposed(slopes), tuple(one[deep] for one in hidden))
        if grad_weight is not None and sum_vD is not None and sum_vD.dtype != grad_weight.dtype:
            grad_weight[columns] = sum_vD if len(hidden_TD) else 0
    return (
        None if grad_hidden is None else grad_hidden.to(hidden_TD.dtype),
        None if call.adds else grad_weight,
    )


def _room(
    num_positions: int, call: Call, tiling: Tiling, device: torch.device
) -> tuple[Tensor, ...]:
    """[t, v] memory for derivatives; two where a number is the sum of two of 16 bits."""
    operand = call.precision.operand
    num = 2 if call.precision.is_split and operand.itemsize == 2 else 1
    size = max(1, min(tiling.deep, num_positions)), padded(tiling.columns)
    return tuple(torch.empty(size, dtype=operand, device=device) for _ in range(num))


def _matrix_for(weight: Tensor, call: Call) -> tuple[Tensor, bool]:
    """[V, D] the matrix's gradient, and whether nothing is in it yet."""
    if call.adds and weight.grad is not None:
        return weight.grad, False
    made = torch.empty_like(weight, dtype=dtype_of(weight))
    if call.adds:
        weight.grad = made
    return made, True


def _sum_of(grad_weight: Tensor, columns: slice) -> Tensor:
    """[v, D] float32, where a block of the gradient is added up."""
    block = grad_weight[columns]
    return block if block.dtype == torch.float32 else torch.empty_like(block, dtype=torch.float32)
