"""Log-probabilities of sampled tokens from hidden states, without the logits of a whole batch.

Two exact ways:

    gathered   a position with a small recorded nucleus needs only the kept rows of the output
               matrix: no product with the whole vocabulary at all
    tiled      any other position: one tile of positions and vocabulary at a time; the first tile of
               positions is kept for the backward pass, which computes the others again

Replaying the nucleus: MAI-Thinking-1 report, section 3.1.3.

Two precisions, decided once, in the forward pass, and kept for the backward pass: the operands of
every product (autocast's, where it is on: what inference engines multiply), and the exact one of
logits, sums and gradients (float32), which no product is rounded below.

Shape suffixes: T = positions, D = model width, V = vocabulary, M = kept candidates of all
positions together, t and v = one tile of T and V.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

VOCAB_TILE = 4096
GATHER_TILE = 4096
# a gathered row costs far more than its share of a matrix product
GATHER_COST = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """What lies between the output matrix and the softmax."""

    temperature: float = 1.0
    softcap: float = 0.0
    """Bound of the logits (Gemma's `final_logit_softcapping`); 0 for none."""

    def apply(self, raw: Tensor) -> Tensor:
        """Logits from the matrix product, which is overwritten."""
        if self.softcap:
            raw = raw.div_(self.softcap).tanh_().mul_(self.softcap)
        return raw.div_(self.temperature) if self.temperature != 1 else raw

    def slope(self, logit: Tensor) -> Tensor | float:
        """Derivative of `apply` at the raw value that gave `logit`."""
        if not self.softcap:
            return 1 / self.temperature
        return (1 - (logit * self.temperature / self.softcap) ** 2) / self.temperature


def sampled_logp(
    hidden_TD: Tensor,
    weight_VD: Tensor,
    token_T: Tensor,
    kept_ids_M: Tensor,
    kept_starts: Tensor,
    *,
    scale: Scale,
    tile: int = 512,
) -> Tensor:
    """Log-probability of each token under the softmax over its nucleus.

    Args:
        hidden_TD: [T, D] what the output matrix is applied to.
        weight_VD: [V, D] the output matrix; no bias.
        token_T: [T] int64.
        kept_ids_M: [M] int64, the nuclei end to end; each holds its token.
        kept_starts: [T + 1] int64 offsets into `kept_ids_M`; an empty slice means all of V.
        scale: temperature and soft cap.
        tile: positions whose logits over the whole vocabulary may exist at once.

    Returns:
        [T] float32 (float64 for float64 input), with gradient to `hidden_TD` and `weight_VD`.
        Under autocast the products are of operands in its precision; nothing else is.
    """
    how = _How(scale=scale, operand=_operand(hidden_TD), tile=tile)
    count_T = kept_starts.diff()
    has_nucleus_T = count_T > 0
    num_nuclei = int(has_nucleus_T.sum())
    if len(kept_ids_M) * GATHER_COST > num_nuclei * weight_VD.shape[0]:
        has_nucleus_T = torch.zeros_like(has_nucleus_T)
    owner_M = torch.repeat_interleave(count_T)
    if bool(has_nucleus_T.all()):
        return _gathered(hidden_TD, weight_VD, token_T, kept_ids_M, owner_M, how)
    if not bool(has_nucleus_T.any()):
        return _tiled(hidden_TD, weight_VD, token_T, kept_ids_M, kept_starts, how)
    # mixed: nuclei are gathered, the rest has none to mask
    inside, outside = has_nucleus_T.nonzero()[:, 0], (~has_nucleus_T).nonzero()[:, 0]
    rank_T = has_nucleus_T.cumsum(0) - 1
    near = _gathered(
        hidden_TD[inside], weight_VD, token_T[inside], kept_ids_M, rank_T[owner_M], how
    )
    no_starts = kept_starts.new_zeros(len(outside) + 1)
    far = _tiled(hidden_TD[outside], weight_VD, token_T[outside], kept_ids_M[:0], no_starts, how)
    logp_T = near.new_zeros(len(token_T))
    return logp_T.index_copy(0, inside, near).index_copy(0, outside, far)


@dataclass(frozen=True, slots=True, kw_only=True)
class _How:
    """What a forward and its backward pass agree on."""

    scale: Scale
    operand: torch.dtype
    """Precision of what is multiplied."""
    tile: int

    @property
    def exact(self) -> torch.dtype:
        """Precision of logits, sums and gradients."""
        return torch.float64 if self.operand == torch.float64 else torch.float32


def _operand(hidden: Tensor) -> torch.dtype:
    """Autocast's precision where it is on, and the input's own elsewhere."""
    kind = hidden.device.type
    if torch.is_autocast_enabled(kind) and hidden.dtype != torch.float64:
        return torch.get_autocast_dtype(kind)
    return hidden.dtype


def _plainly(tensor: Tensor) -> torch.autocast:
    """Autocast off, so that no product in a pass is rounded behind its back."""
    return torch.autocast(tensor.device.type, enabled=False)


def _product(left: Tensor, right: Tensor, how: _How) -> Tensor:
    """left @ right of operands, summed and returned in the exact precision."""
    left, right = left.to(how.operand), right.to(how.operand)
    if how.operand == how.exact:
        return left @ right
    if left.is_cuda:
        return torch.mm(left, right, out_dtype=how.exact)
    return left.to(how.exact) @ right.to(how.exact)


def _add_product(sum_: Tensor, left: Tensor, right: Tensor, how: _How) -> None:
    """Add left @ right of operands to a sum in the exact precision."""
    if how.operand == how.exact:
        sum_.addmm_(left.to(how.operand), right.to(how.operand))
    else:
        sum_ += _product(left, right, how)


def _gathered(
    hidden: Tensor, weight: Tensor, token: Tensor, ids: Tensor, owner: Tensor, how: _How
) -> Tensor:
    with _plainly(hidden):
        logp: Tensor = _Gathered.apply(hidden, weight, token, ids, owner, how)  # type: ignore[no-untyped-call]
    return logp


def _tiled(
    hidden: Tensor, weight: Tensor, token: Tensor, ids: Tensor, starts: Tensor, how: _How
) -> Tensor:
    with _plainly(hidden):
        logp: Tensor = _Tiled.apply(hidden, weight, token, ids, starts, how)  # type: ignore[no-untyped-call]
    return logp


class _Gathered(torch.autograd.Function):
    """Every position has a nucleus: one dot product for each kept candidate."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_TD: Tensor,
        weight_VD: Tensor,
        token_T: Tensor,
        ids_M: Tensor,
        owner_M: Tensor,
        how: _How,
    ) -> Tensor:
        exact, operand = how.exact, how.operand
        logit_M = torch.empty(len(ids_M), dtype=exact, device=hidden_TD.device)
        for part in _parts(len(ids_M)):
            rows = weight_VD[ids_M[part]].to(operand).to(exact)
            logit_M[part] = (rows * hidden_TD[owner_M[part]].to(operand).to(exact)).sum(-1)
        logit_M = how.scale.apply(logit_M)
        top_T = logit_M.new_full((len(token_T),), float("-inf"))
        top_T = top_T.scatter_reduce(0, owner_M, logit_M, "amax")
        total_T = torch.zeros_like(top_T).index_add(0, owner_M, (logit_M - top_T[owner_M]).exp())
        logp_M = logit_M - (top_T + total_T.log())[owner_M]
        is_token_M = ids_M == token_T[owner_M]
        ctx.save_for_backward(hidden_TD, weight_VD, ids_M, owner_M, logit_M, logp_M, is_token_M)
        ctx.how = how
        return torch.zeros_like(top_T).index_add(0, owner_M, torch.where(is_token_M, logp_M, 0.0))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_T: Tensor) -> tuple[Tensor | None, ...]:
        hidden_TD, weight_VD, ids_M, owner_M, logit_M, logp_M, is_token_M = ctx.saved_tensors
        exact, operand = ctx.how.exact, ctx.how.operand
        with _plainly(hidden_TD):
            slope_M = (is_token_M.to(exact) - logp_M.exp()) * ctx.how.scale.slope(logit_M)
            grad_M = grad_T.to(exact)[owner_M] * slope_M
            grad_hidden = torch.zeros_like(hidden_TD, dtype=exact)
            grad_weight = torch.zeros_like(weight_VD, dtype=exact)
            for part in _parts(len(ids_M)):
                ids, owner, grad = ids_M[part], owner_M[part], grad_M[part, None]
                grad_hidden.index_add_(0, owner, weight_VD[ids].to(operand).to(exact) * grad)
                grad_weight.index_add_(0, ids, hidden_TD[owner].to(operand).to(exact) * grad)
        return (grad_hidden.to(hidden_TD.dtype), grad_weight.to(weight_VD.dtype), *(None,) * 4)


class _Tiled(torch.autograd.Function):
    """The whole vocabulary, or wide nuclei, by tiles of positions and vocabulary."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_TD: Tensor,
        weight_VD: Tensor,
        token_T: Tensor,
        ids_M: Tensor,
        starts: Tensor,
        how: _How,
    ) -> Tensor:
        norm_T = torch.empty(len(token_T), dtype=how.exact, device=hidden_TD.device)
        chosen_T = torch.empty_like(norm_T)
        source = weight_VD, token_T, (ids_M, starts), how
        kept: list[tuple[Tensor, Tensor]] = []
        for rows in _parts(len(token_T), how.tile):
            top_t = chosen_T.new_full((len(token_T[rows]),), float("-inf"))
            total_t = torch.zeros_like(top_t)
            for columns in _parts(len(weight_VD), VOCAB_TILE):
                logit_tv, (row, column) = _logits(hidden_TD, *source, rows, columns)
                chosen_T[rows.start + row] = logit_tv[row, column]
                new_top_t = torch.maximum(top_t, logit_tv.amax(-1))
                # a tile with nothing kept so far leaves the top at -inf, and -inf - -inf is NaN
                shift_t = torch.where(new_top_t.isinf(), 0.0, new_top_t)
                share_tv = logit_tv.sub_(shift_t[:, None]).exp_()
                total_t = total_t * (top_t - shift_t).exp() + share_tv.sum(-1)
                top_t = new_top_t
                if rows.start == 0 and not how.scale.softcap:
                    kept.append((share_tv, shift_t))
            norm_T[rows] = top_t + total_t.log()
        ctx.save_for_backward(hidden_TD, weight_VD, token_T, ids_M, starts, norm_T)
        ctx.how, ctx.kept = how, kept
        return chosen_T - norm_T

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_T: Tensor) -> tuple[Tensor | None, ...]:
        hidden_TD, weight_VD, token_T, ids_M, starts, norm_T = ctx.saved_tensors
        how, kept = ctx.how, iter(ctx.kept)
        ctx.kept = []  # overwritten below
        grad_hidden = torch.zeros_like(hidden_TD, dtype=how.exact)
        grad_weight = torch.zeros_like(weight_VD, dtype=how.exact)
        source = weight_VD, token_T, (ids_M, starts), how
        with _plainly(hidden_TD):
            for rows in _parts(len(token_T), how.tile):
                grad_t = grad_T[rows, None].to(how.exact)
                for columns in _parts(len(weight_VD), VOCAB_TILE):
                    tile = next(kept, None)
                    grad_tv = _share(hidden_TD, *source, rows, columns, norm_T[rows], tile)
                    grad_tv = grad_tv.mul_(grad_t)
                    _add_product(grad_hidden[rows], grad_tv, weight_VD[columns], how)
                    _add_product(grad_weight[columns], grad_tv.T, hidden_TD[rows], how)
        return (grad_hidden.to(hidden_TD.dtype), grad_weight.to(weight_VD.dtype), *(None,) * 4)


def _share(
    hidden_TD: Tensor,
    weight_VD: Tensor,
    token_T: Tensor,
    nuclei: tuple[Tensor, Tensor],
    how: _How,
    rows: slice,
    columns: slice,
    norm_t: Tensor,
    tile: tuple[Tensor, Tensor] | None,
) -> Tensor:
    """[t, v] derivative of the tokens' log-probabilities by a tile's products.

    Args:
        norm_t: logarithm of each position's sum over the vocabulary.
        tile: what the forward pass kept of it, which is overwritten; computed again without.
    """
    if tile is not None:
        (share_tv, shift_t), (row, column) = tile, _here(token_T, rows, columns)
        grad_tv = share_tv.mul_((shift_t - norm_t).exp_()[:, None]).neg_()
        slope = how.scale.slope(grad_tv)
    else:
        logit_tv, (row, column) = _logits(hidden_TD, weight_VD, token_T, nuclei, how, rows, columns)
        slope = how.scale.slope(logit_tv)
        grad_tv = logit_tv.sub_(norm_t[:, None]).exp_().neg_()
    grad_tv[row, column] += 1
    grad_tv = grad_tv.mul_(slope)
    if how.scale.softcap and len(nuclei[0]):
        # outside the nucleus the gradient is zero and the slope infinite
        grad_tv = grad_tv.nan_to_num_(nan=0.0)
    return grad_tv


def _logits(
    hidden_TD: Tensor,
    weight_VD: Tensor,
    token_T: Tensor,
    nuclei: tuple[Tensor, Tensor],
    how: _How,
    rows: slice,
    columns: slice,
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """[t, v] logits of a tile, -inf outside a nucleus, and (row, column) of the tokens in it."""
    logit_tv = how.scale.apply(_product(hidden_TD[rows], weight_VD[columns].T, how))
    ids_M, starts = nuclei
    if len(ids_M):
        count_t = starts[rows.start : rows.stop + 1].diff()
        ids = ids_M[int(starts[rows.start]) : int(starts[rows.stop])]
        owner = torch.repeat_interleave(count_t)
        inside = (ids >= columns.start) & (ids < columns.stop)
        allowed_tv = (count_t == 0)[:, None].expand(logit_tv.shape).clone()
        allowed_tv[owner[inside], ids[inside] - columns.start] = True
        logit_tv.masked_fill_(~allowed_tv, float("-inf"))
    return logit_tv, _here(token_T, rows, columns)


def _here(token_T: Tensor, rows: slice, columns: slice) -> tuple[Tensor, Tensor]:
    """(row, column) within a tile of the tokens that lie in it."""
    token_t = token_T[rows]
    row = ((token_t >= columns.start) & (token_t < columns.stop)).nonzero()[:, 0]
    return row, token_t[row] - columns.start


def _parts(size: int, step: int = GATHER_TILE) -> Iterator[slice]:
    """Slices of at most `step` that cover `size`."""
    for start in range(0, size, step):
        yield slice(start, min(start + step, size))
