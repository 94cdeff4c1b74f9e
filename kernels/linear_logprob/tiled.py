"""Torch operators alone, one tile of positions and vocabulary at a time: for any device.

    forward    a tile's logits -> each position's largest, its sum, its token's logit
    backward   a tile's logits again -> their derivatives -> two products, added up

The first tiles are kept for the backward pass, which computes the others again.

Shape suffixes: T = positions, D = model width, V = vocabulary, M = kept candidates of all positions
together, t and v = one tile of T and V.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from munro.kernels.linear_logprob.call import Call, plainly, returned, sum_for, tiles
from munro.kernels.precision import add_across, add_product, fresh_product, transposed

VOCAB_TILE = 2032
"""No power of two, whose columns would all lie in the same few lines of a cache."""
LOG_OF_NOTHING = -1e4
"""A share of which this is the logarithm is 0 in float64 too."""


def linear_logprob(
    hidden_TD: Tensor,
    weight_VD: Tensor,
    token_T: Tensor,
    kept: tuple[Tensor, Tensor] | None,
    call: Call,
) -> tuple[Tensor, Tensor | None]:
    """See `munro.kernels.linear_logprob`; where `kept` is on a GPU, its offsets are read back."""
    ids_M, starts = kept if kept is not None else (None, None)
    learns = torch.is_grad_enabled()
    logp_T, entropy_T = _Tiled.apply(hidden_TD, weight_VD, token_T, ids_M, starts, call, learns)  # type: ignore[no-untyped-call]
    return logp_T, entropy_T


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tile:
    """Where a tile lies, and its operands."""

    index: int
    rows: slice
    columns: slice
    hidden: tuple[Tensor, ...]
    """[t, D] each"""
    across: tuple[Tensor, ...]
    """[D, t] each, the same numbers, where the matrix's gradient is made of them"""
    weight: tuple[Tensor, ...]
    """[v, D] each"""
    column_t1: Tensor
    """Of the positions' tokens, or the nearest there is."""
    inside_t: Tensor
    """Whether a position's token lies here."""
    exact: torch.dtype
    """Of its logits."""

    @property
    def num_bytes(self) -> int:
        """Of its logits."""
        return len(self.inside_t) * self.weight[0].shape[0] * self.exact.itemsize

    def logits(self) -> Tensor:
        """[t, v] products, before anything is done to them."""
        return fresh_product(self.hidden, transposed(self.weight), self.exact)


class _Problem:
    """The inputs of a call, tile by tile; the same order in both passes."""

    def __init__(
        self,
        hidden_TD: Tensor,
        weight_VD: Tensor,
        token_T: Tensor,
        ids_M: Tensor | None,
        starts: Tensor | None,
        call: Call,
        *,
        across_too: bool = False,
    ) -> None:
        self._weight, self._token, self._call = weight_VD, token_T, call
        whole = call.precision.parts(hidden_TD)
        self._rows = []
        for rows in tiles(len(token_T), call.tile):
            hidden = tuple(part[rows] for part in whole)
            across = tuple(part.T.contiguous() for part in hidden) if across_too else ()
            self._rows.append((rows, hidden, across))
        self._ids = None if ids_M is None or not len(ids_M) else ids_M
        if self._ids is not None:
            assert starts is not None
            self._starts = starts.to("cpu").numpy()

    def __iter__(self) -> Iterator[_Tile]:
        index = 0
        for columns in tiles(len(self._weight), VOCAB_TILE):
            weight = self._call.precision.parts(self._weight[columns])
            for rows, hidden, across in self._rows:
                column_t = self._token[rows] - columns.start
                width = weight[0].shape[0]
                yield _Tile(
                    index=index,
                    rows=rows,
                    columns=columns,
                    hidden=hidden,
                    across=across,
                    weight=weight,
                    column_t1=column_t.clamp(0, width - 1)[:, None],
                    inside_t=(column_t >= 0) & (column_t < width),
                    exact=self._call.precision.exact,
                )
                index += 1

    def forbid(self, logit_tv: Tensor, tile: _Tile) -> Tensor:
        """-inf where a position may not sample a token; overwrites."""
        if self._ids is None:
            return logit_tv
        starts = self._starts[tile.rows.start : tile.rows.stop + 1]
        height, width = logit_tv.shape
        count_t = torch.from_numpy(starts[1:] - starts[:-1]).to(logit_tv.device)
        ids_m = self._ids[int(starts[0]) : int(starts[-1])]
        at_t = torch.arange(height, device=logit_tv.device)
        owner_m = at_t.repeat_interleave(count_t, output_size=len(ids_m))
        column_m = ids_m - tile.columns.start
        # what lies in another tile goes to a column that is cut off
        column_m = column_m.masked_fill((column_m < 0) | (column_m >= width), width)
        forbidden = (count_t > 0)[:, None].expand(height, width + 1).clone()
        forbidden[owner_m, column_m] = False
        return logit_tv.masked_fill_(forbidden[:, :width], float("-inf"))


class _Tiled(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_TD: Tensor,
        weight_VD: Tensor,
        token_T: Tensor,
        ids_M: Tensor | None,
        starts: Tensor | None,
        call: Call,
        learns: bool,
    ) -> tuple[Tensor, Tensor | None]:
        problem = _Problem(hidden_TD, weight_VD, token_T, ids_M, starts, call)
        exact, device = call.precision.exact, hidden_TD.device
        top_T = torch.full((len(token_T),), float("-inf"), dtype=exact, device=device)
        total_T, dot_T, chosen_T = (torch.zeros_like(top_T) for _ in range(3))
        keeps = learns and not call.scale.softcap and not call.entropy
        kept: list[tuple[Tensor, Tensor] | None] = []
        room = call.keep_bytes if keeps else 0
        for tile in problem:
            rows = tile.rows
            room -= tile.num_bytes
            logit_tv = call.scale.apply(tile.logits())
            logit_tv = problem.forbid(logit_tv, tile)
            here_t = logit_tv.gather(1, tile.column_t1)[:, 0]
            chosen_T[rows] = torch.where(tile.inside_t, here_t, chosen_T[rows])
            top_t = torch.maximum(top_T[rows], logit_tv.amax(-1))
            # a tile with nothing allowed so far leaves the top at -inf, and -inf - -inf is NaN
            shift_t = torch.where(top_t.isneginf(), 0.0, top_t)
            down_t = (top_T[rows] - shift_t).exp()
            away_tv = logit_tv.sub_(shift_t[:, None])
            if call.entropy:
                # sums of shares times their distance from the top, which moves
                moved_t = torch.where(top_T[rows].isneginf(), 0.0, top_T[rows] - shift_t)
                dot_T[rows] = down_t * (dot_T[rows] + total_T[rows] * moved_t)
                share_tv = away_tv.exp()
                dot_T[rows] += _finite(away_tv).mul_(share_tv).sum(-1)
            else:
                share_tv = away_tv.exp_()
            total_T[rows] = total_T[rows] * down_t + share_tv.sum(-1)
            top_T[rows] = top_t
            if room >= 0:
                kept.append((share_tv, shift_t))
            del logit_tv, away_tv, share_tv  # the next tile may lie where they did
        log_total_T = total_T.log()
        norm_T = top_T + log_total_T
        entropy_T = log_total_T - dot_T / total_T if call.entropy else None
        ctx.save_for_backward(hidden_TD, weight_VD, token_T, ids_M, starts, norm_T, entropy_T)
        ctx.call, ctx.kept = call, kept
        ctx.set_materialize_grads(False)
        return chosen_T - norm_T, entropy_T

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_T: Tensor | None, slant_T: Tensor | None) -> tuple[Any, ...]:
        hidden_TD, weight_VD, token_T, ids_M, starts, norm_T, entropy_T = ctx.saved_tensors
        call, kept = ctx.call, ctx.kept
        ctx.kept = []  # overwritten below
        wants_hidden, wants_weight = ctx.needs_input_grad[:2]
        exact = call.precision.exact
        grad_T = torch.zeros_like(norm_T) if grad_T is None else grad_T.to(exact)
        grad_hidden = torch.zeros_like(hidden_TD, dtype=exact) if wants_hidden else None
        grad_weight = sum_for(weight_VD, call) if wants_weight else None
        with plainly(hidden_TD), call.precision.as_named():
            problem = _Problem(
                hidden_TD, weight_VD, token_T, ids_M, starts, call, across_too=wants_weight
            )
            for tile in problem:
                norm_t, grad_t = norm_T[tile.rows], grad_T[tile.rows]
                if slant_T is not None:
                    slant_t = slant_T[tile.rows].to(exact)
                    entropy_t = entropy_T[tile.rows]
                    grad_tv = _slanted(problem, tile, norm_t, entropy_t, grad_t, slant_t, call)
                else:
                    share = kept[tile.index] if tile.index < len(kept) else None
                    grad_tv = _grad(problem, tile, norm_t, grad_t, share, call)
                    if share is not None:
                        kept[tile.index] = None
                parts = call.precision.parts(grad_tv)
                if grad_hidden is not None:
                    add_product(grad_hidden[tile.rows], parts, tile.weight)
                if grad_weight is not None:
                    add_across(grad_weight[tile.columns], tile.across, parts)
                del grad_tv, parts
        return (
            None if grad_hidden is None else grad_hidden.to(hidden_TD.dtype),
            None if grad_weight is None else returned(grad_weight, weight_VD, call),
            *(None,) * 5,
        )


def _grad(
    problem: _Problem,
    tile: _Tile,
    norm_t: Tensor,
    grad_t: Tensor,
    share: tuple[Tensor, Tensor] | None,
    call: Call,
) -> Tensor:
    """[t, v] derivative of the sum of grad x log-probability by a tile's products.

    Args:
        norm_t: logarithm of each position's sum over the vocabulary.
        share: what the forward pass kept of it, which is overwritten; computed again without.
    """
    slope: Tensor | float
    if share is not None:
        share_tv, shift_t = share
        share_tv.mul_(((shift_t - norm_t).exp_() * -grad_t)[:, None])
        slope = 1 / call.scale.temperature
    else:
        logit_tv = call.scale.apply(tile.logits())
        slope = call.scale.slope(logit_tv)  # before what is forbidden is -inf, where it has none
        share_tv = problem.forbid(logit_tv, tile).sub_(norm_t[:, None]).exp_()
        share_tv.mul_(-grad_t[:, None])
    _add_at_token(share_tv, tile, grad_t)
    return share_tv if isinstance(slope, float) and slope == 1 else share_tv.mul_(slope)


def _slanted(
    problem: _Problem,
    tile: _Tile,
    norm_t: Tensor,
    entropy_t: Tensor,
    grad_t: Tensor,
    slant_t: Tensor,
    call: Call,
) -> Tensor:
    """[t, v] derivative of grad x log-probability + slant x entropy by a tile's products.

    The entropy's is -p (log p + H).
    """
    logit_tv = call.scale.apply(tile.logits())
    slope = call.scale.slope(logit_tv)
    logp_tv = problem.forbid(logit_tv, tile).sub_(norm_t[:, None])
    share_tv = logp_tv.exp()
    weight_tv = _finite(logp_tv).add_(entropy_t[:, None]).mul_(slant_t[:, None])
    grad_tv = weight_tv.add_(grad_t[:, None]).mul_(share_tv).neg_()
    _add_at_token(grad_tv, tile, grad_t)
    return grad_tv.mul_(slope)


def _add_at_token(grad_tv: Tensor, tile: _Tile, value_t: Tensor) -> None:
    here_t1 = grad_tv.gather(1, tile.column_t1)
    grad_tv.scatter_(1, tile.column_t1, here_t1 + (value_t * tile.inside_t)[:, None])


def _finite(log_tv: Tensor) -> Tensor:
    """-inf made finite, so that a share of 0 times it is 0; overwrites."""
    return log_tv.clamp_(min=LOG_OF_NOTHING)
