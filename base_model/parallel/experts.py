"""Expert parallelism: every token goes to the ranks of its experts, and their answers come back.

    rows by expert ──► all-to-all ──► own experts ──► all-to-all ──► gated sum of each token's K
                       ╰─────────────── one round ──────────────╯

A rank gets its rows in the order (source rank, token), so that every expert sees its tokens as one
rank with all of them would: its answers and the gradient of its weights are those, bit for bit.
Nothing is dropped. Of each expert at most `round_tokens` rows are under way at once, whatever the
load; a round is then sent and computed again in the backward pass.

Shape letters: N = tokens, W = width the experts work in, I = an expert's inner width, E = experts,
K = experts a token goes to, A = N * K assignments, R = ranks, S = rows of a round.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, distributed
from torch.distributed.tensor import DTensor
from torch.utils.checkpoint import checkpoint

from munro.kernels.experts import count

Mix = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, int], Tensor]
"""See `munro.kernels.experts.experts`."""


@dataclass(frozen=True, slots=True)
class Parted:
    """A `Mix` whose experts lie on several ranks, in order and evenly.

    On a GPU the host waits once a layer, for the numbers of rows.
    """

    group: distributed.ProcessGroup
    mix: Mix
    """Computes those of one rank."""

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def __call__(
        self,
        x_NW: Tensor,
        gate_up_EIW: Tensor,
        down_EWI: Tensor,
        ids_NK: Tensor,
        gates_NK: Tensor,
        round_tokens: int = 0,
    ) -> Tensor:
        """[N, W] float32; every rank of the group must call it. Weights are DTensors over it."""
        weights = _local(gate_up_EIW), _local(down_EWI)
        ids_A = ids_NK.flatten()
        order_A = ids_A.argsort(stable=True)
        own_E = count(ids_NK, len(weights[0]) * self.group.size())
        counts_RE = own_E.new_empty(self.group.size(), len(own_E))
        distributed.all_gather(list(counts_RE.unbind()), own_E, group=self.group)
        rounds = list(_rounds(counts_RE.cpu(), self.group.rank(), round_tokens))
        chosen = _by_round(ids_A[order_A], counts_RE, self.group.rank(), round_tokens)
        places = torch.split(chosen, [one.num_sent for one in rounds])
        dtype = _dtype(x_NW)
        wide = x_NW.to(torch.promote_types(dtype, torch.float32))
        answers: list[Tensor] = []
        # the last one first: the backward pass then adds up gradients from the first one on
        for one, places_S in reversed([*zip(rounds, places, strict=True)]):
            token_S = order_A[places_S].div(ids_NK.shape[1], rounding_mode="floor")
            given = (wide, token_S, *weights, one, dtype)
            again = bool(round_tokens) and torch.is_grad_enabled()
            answers.insert(0, _again(self._answers, *given) if again else self._answers(*given))
        place_A = torch.empty_like(order_A)
        place_A[order_A[chosen]] = torch.arange(len(order_A), device=order_A.device)
        answer_NKW = torch.cat(answers)[place_A.view(ids_NK.shape)]
        return (answer_NKW.to(wide.dtype) * gates_NK[..., None]).sum(1)

    def _answers(
        self,
        x_NW: Tensor,
        token_S: Tensor,
        gate_up_EIW: Tensor,
        down_EWI: Tensor,
        plan: _Round,
        dtype: torch.dtype,
    ) -> Tensor:
        """[S, W] what the experts of these rows make of them."""
        # rows of one token are added up in the wider type in the backward pass
        rows_SW = x_NW.index_select(0, token_S).to(dtype)
        here = _Exchange.apply(rows_SW, plan.sent, plan.received, self.group)  # type: ignore[no-untyped-call]
        ids_S1 = plan.experts.to(here.device)[:, None]
        ones_S1 = torch.ones(ids_S1.shape, dtype=torch.float32, device=here.device)
        mixed = self.mix(here, gate_up_EIW, down_EWI, ids_S1, ones_S1, 0).to(dtype)
        back: Tensor = _Exchange.apply(mixed, plan.received, plan.sent, self.group)  # type: ignore[no-untyped-call]
        return back


_again = partial(checkpoint, use_reentrant=False, preserve_rng_state=False)


@dataclass(frozen=True, slots=True)
class _Round:
    sent: list[int]
    """Rows for each rank."""
    received: list[int]
    """Rows of each rank."""
    experts: Tensor
    """[sum of `received`] int64: which of this rank's experts each row is for."""

    @property
    def num_sent(self) -> int:
        return sum(self.sent)


def _rounds(counts_RE: Tensor, rank: int, most: int) -> Iterator[_Round]:
    """What every round sends and receives, of all ranks' assignments to each expert, on the host.

    An expert's assignments are counted through all ranks; a round takes the next `most` of them.
    """
    ranks, num_experts = counts_RE.shape
    own = slice(rank * num_experts // ranks, (rank + 1) * num_experts // ranks)
    ends_RE = counts_RE.cumsum(0)
    most_of_all = int(ends_RE[-1].max())
    for start in range(0, max(1, most_of_all), most or max(1, most_of_all)):
        end = start + (most or most_of_all)
        taken_RE = ends_RE.clamp(start, end) - (ends_RE - counts_RE).clamp(start, end)
        yield _Round(
            sent=taken_RE[rank].view(ranks, -1).sum(1).tolist(),
            received=taken_RE[:, own].sum(1).tolist(),
            experts=torch.arange(own.stop - own.start)
            .repeat(ranks)
            .repeat_interleave(taken_RE[:, own].flatten()),
        )


def _by_round(expert_A: Tensor, counts_RE: Tensor, rank: int, most: int) -> Tensor:
    """[A] the places of assignments sorted by expert, in the order in which rounds take them."""
    if not most:
        return torch.arange(len(expert_A), device=expert_A.device)
    before_E = counts_RE[:rank].sum(0)
    first_E = counts_RE[rank].cumsum(0) - counts_RE[rank]
    at_A = torch.arange(len(expert_A), device=expert_A.device)
    among_all_A = before_E[expert_A] + at_A - first_E[expert_A]
    return among_all_A.div(most, rounding_mode="floor").argsort(stable=True)


class _Exchange(torch.autograd.Function):
    """Rows to other ranks and from them; gradients go the other way."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, sent: list[int], received: list[int], group: Any) -> Tensor:
        ctx.back = (received, sent, group)
        return _exchanged(rows, sent, received, group)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return _exchanged(grad, *ctx.back), None, None, None


def _exchanged(rows: Tensor, sent: list[int], received: list[int], group: Any) -> Tensor:
    got = rows.new_empty(sum(received), *rows.shape[1:])
    distributed.all_to_all_single(got, rows.contiguous(), received, sent, group=group)
    return got


def _dtype(x: Tensor) -> torch.dtype:
    """Of the products."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


def _local(weight: Tensor) -> Tensor:
    return weight.to_local() if isinstance(weight, DTensor) else weight
