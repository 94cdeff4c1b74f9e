"""Context parallelism: ranks that read the same rows hold a stretch of columns each (Ulysses).

    own columns, all heads ──► all-to-all ──► all columns, own heads ──► attention ──► and back

Attention then sees whole rows, so that documents, windows, trees and shared prompts are what they
are on one rank. DeepSpeed Ulysses (arXiv:2309.14509).

Shape letters: R = rows, H = heads, G = key and value heads, L = columns, C = a rank's columns,
E = width of a head, T = tokens, N = ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, distributed

from munro.kernels.attention.reference import grouped


class Context:
    """The ranks that read the same rows, seen from one.

    Example:
        Context(mesh.get_group("cp"))
    """

    def __init__(self, group: distributed.ProcessGroup) -> None:
        self.group, self.rank, self.size = group, group.rank(), group.size()

    def columns(self, length: int) -> slice:
        """This rank's, of rows of so many; they divide."""
        own = length // self.size
        return slice(self.rank * own, (self.rank + 1) * own)

    def heads(self, number: int) -> slice:
        """Those whose whole rows this rank computes."""
        return self.columns(number)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def to_heads(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        """From [R, H, C, E] and [R, G, C, E] to [R, H / N, L, E] and as many keys as those need.

        Where ranks are more than key heads, or do not divide them, these are repeated first.
        """
        heads = query.shape[1]
        key, value = (grouped(x, _repeated(x.shape[1], heads, self.size)) for x in (key, value))
        parts = [_by_heads(x, self.size) for x in (query, key, value)]
        sizes = [part.shape[1] for part in parts]
        got = _Exchange.apply(torch.cat(parts, dim=1), self.group)  # type: ignore[no-untyped-call]
        return tuple(
            _whole_rows(part, x, self.size)
            for part, x in zip(got.split(sizes, dim=1), (query, key, value), strict=True)
        )

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def to_columns(self, mixed: Tensor) -> Tensor:
        """From [R, H / N, L, E] back to [R, H, C, E]."""
        rows, heads, length, width = mixed.shape
        own = length // self.size
        parts = mixed.reshape(rows, heads, self.size, own, width).permute(2, 0, 1, 3, 4)
        got = _Exchange.apply(parts.contiguous(), self.group)  # type: ignore[no-untyped-call]
        whole: Tensor = got.permute(1, 0, 2, 3, 4).reshape(rows, self.size * heads, own, width)
        return whole

    def gathered(self, own: Tensor, sizes: Sequence[int]) -> Tensor:
        """[sum of sizes] the parts of all ranks, one after another; each learns from its own alone.

        So a loss that every rank computes of all of it has the right gradient when those of all
        ranks are added up.
        """
        whole: Tensor = _Gather.apply(own, list(sizes), self)  # type: ignore[no-untyped-call]
        return whole

    def mean(self, own: Tensor, weight: Tensor) -> Tensor:
        """The ranks' means, weighed by so many of what each is a mean of; learns as `gathered`."""
        both = torch.cat([(own * weight).flatten(), weight.to(own).view(1)])
        summed = _Sum.apply(both, self)  # type: ignore[no-untyped-call]
        mean: Tensor = summed[:-1].view_as(own) / summed[-1].detach().clamp(min=1)
        return mean


class _Exchange(torch.autograd.Function):
    """Piece n to rank n, and from it; its own transpose, and so its own backward pass."""

    @staticmethod
    def forward(ctx: Any, pieces: Tensor, group: Any) -> Tensor:
        ctx.group = group
        return _exchanged(pieces, group)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return _exchanged(grad, ctx.group), None


def _exchanged(pieces: Tensor, group: Any) -> Tensor:
    pieces = pieces.contiguous()
    got = torch.empty_like(pieces)
    distributed.all_to_all_single(got, pieces, group=group)
    return got


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, own: Tensor, sizes: list[int], context: Context) -> Tensor:
        start = sum(sizes[: context.rank])
        ctx.own = slice(start, start + len(own))
        padded = own.new_zeros(max(1, *sizes))
        padded[: len(own)] = own
        got = own.new_empty(len(sizes), len(padded))
        distributed.all_gather(list(got.unbind()), padded, group=context.group)
        return torch.cat([part[:size] for part, size in zip(got, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return grad[ctx.own], None, None


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, own: Tensor, context: Context) -> Tensor:  # noqa: ARG004
        summed = own.clone()
        distributed.all_reduce(summed, group=context.group)
        return summed

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:  # noqa: ARG004
        return grad, None


def _repeated(groups: int, heads: int, ranks: int) -> int:
    """The fewest key heads that divide among the ranks, each for heads of one rank."""
    return next(n for n in range(groups, heads + 1, groups) if not (n % ranks or heads % n))


def _by_heads(x: Tensor, ranks: int) -> Tensor:
    """[N, everything of those heads] of [R, H, C, E]."""
    rows, heads, columns, width = x.shape
    parts = x.reshape(rows, ranks, heads // ranks, columns, width)
    return parts.transpose(0, 1).reshape(ranks, -1)


def _whole_rows(got: Tensor, x: Tensor, ranks: int) -> Tensor:
    """[R, H / N, L, E] of what every rank has sent, where `x` is what one had."""
    rows, _, columns, width = x.shape
    parts = got.reshape(ranks, rows, -1, columns, width)
    return parts.permute(1, 2, 0, 3, 4).reshape(rows, -1, ranks * columns, width)
