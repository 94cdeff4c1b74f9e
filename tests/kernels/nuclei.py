"""Problems for `nucleus_logprob`, and what every twin of it must satisfy on any device."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from munro.kernels.nucleus_logprob import nucleus_logprob
from munro.kernels.nucleus_logprob.call import Call
from munro.kernels.nucleus_logprob.layout import Plan, plan
from munro.kernels.nucleus_logprob.reference import nucleus_logprob as defined
from munro.kernels.precision import Precision
from munro.kernels.scale import Scale
from tests.rounding import assert_near, largest

SCALES = [Scale(), Scale(temperature=0.6), Scale(temperature=0.7, softcap=3.0)]
WIDTHS = {
    "none": [],
    "one of one": [1],
    "one of many": [30],
    "below, at and beyond a part": [7, 8, 9, 1, 16, 17, 25, 3, 2],
}
LOGITS = 8.0
"""Their size: a deviation of 2."""
PART = 8
"""Small, so that few candidates are several parts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Leaves on a device, and where each position may look."""

    hidden: Tensor
    weight: Tensor
    token: Tensor
    plan: Plan

    @property
    def upstream(self) -> Tensor:
        num, device = len(self.token), self.token.device
        return torch.linspace(-2, 3, num, dtype=torch.float64, device=device)


def problem(
    widths: list[int],
    *,
    num_vocab: int = 300,
    width: int = 16,
    dtype: torch.dtype = torch.float64,
    matrix: torch.dtype | None = None,
    device: str = "cpu",
    hot: int | None = None,
    part: int = PART,
) -> Problem:
    """Random numbers; with `hot` an id that is in every nucleus, and the token of each."""
    rng = np.random.default_rng(3)
    token = rng.integers(num_vocab, size=len(widths)) if hot is None else np.full(len(widths), hot)
    kept = []
    for row, count in enumerate(widths):
        others = rng.permutation(num_vocab)
        nucleus = [*others[others != token[row]][: count - 1], token[row]]
        kept.append(rng.permutation(nucleus))
    ids = np.concatenate([np.zeros(0, np.int64), *kept])
    starts = np.concatenate([[0], np.cumsum(widths, dtype=np.int64)])
    there = torch.device(device)

    def numbers(rows: int, kind: torch.dtype, deviation: float) -> Tensor:
        made = torch.from_numpy(rng.standard_normal((rows, width)) * deviation)
        return made.to(kind).to(there).requires_grad_()

    return Problem(
        hidden=numbers(len(widths), dtype, 2 * width**-0.5),
        weight=numbers(num_vocab, matrix or dtype, 1.0),
        token=torch.from_numpy(token).to(there),
        plan=plan(token, ids, starts, num_vocab, part=part).to(there),
    )


def expected(given: Problem, scale: Scale) -> tuple[Tensor, ...]:
    """Log-probs and both gradients by the definition, in float64 of the same operands."""
    leaves = [one.detach().double().requires_grad_() for one in (given.hidden, given.weight)]
    call = Call(scale=scale, precision=Precision(operand=torch.float64), adds=False)
    logp = defined(*leaves, given.token, given.plan, call)
    return logp.detach(), *torch.autograd.grad((logp * given.upstream).sum(), leaves)


def found(given: Problem, scale: Scale) -> tuple[Tensor, ...]:
    """The same by the twin that runs here."""
    logp = nucleus_logprob(given.hidden, given.weight, given.token, given.plan, scale=scale)
    value = (logp * given.upstream.to(logp.dtype)).sum()
    return logp.detach(), *torch.autograd.grad(value, [given.hidden, given.weight])


def assert_right(given: Problem, scale: Scale) -> None:
    """As near the definition as the sums allow, whatever memory held before."""
    poison(given)
    ours, theirs = found(given, scale), expected(given, scale)
    most = max([1, *torch.as_tensor(given.plan.starts).diff().tolist()])
    for one, other, terms in zip(
        ours, theirs, (given.hidden.shape[1] + most, 2 * most, len(given.token) + most), strict=True
    ):
        assert one.isfinite().all()
        if one.dtype == torch.bfloat16:
            # one rounding more, of the sum; Triton's interpreter cuts off instead
            cut = 2 if os.environ.get("TRITON_INTERPRET") == "1" else 1
            torch.testing.assert_close(one.double(), other, rtol=cut * 2**-8, atol=1e-5)
        else:
            assert_near(one, other, 8 * terms, scale=max(LOGITS, largest(other)))


def poison(given: Problem) -> None:
    """Leave NaN in the memory that the next tensors of these sizes will get."""
    like = (given.hidden, given.weight, given.plan.ids, given.token)
    for _ in range(3):
        dirty = [torch.full_like(one, float("nan"), dtype=torch.float32) for one in like]
        dirty += [torch.full_like(one.detach(), float("nan")) for one in like[:2]]
        del dirty


def check(device: str, *, beyond: int) -> None:
    """What can be asked of any twin at small sizes; float32 and bfloat16.

    Args:
        device: where.
        beyond: a width that is more than a block, and odd.
    """
    for widths in WIDTHS.values():
        assert_right(problem(widths, dtype=torch.float32, device=device), SCALES[-1])
    # odd, a whole number of vectors, beyond a block
    for width, kind in ((13, torch.float32), (32, torch.bfloat16), (beyond, torch.bfloat16)):
        given = problem([3, 1], width=width, dtype=kind, device=device)
        assert_right(given, SCALES[1])
    # an id that is in every nucleus, and one that is all there is: their rows' sums are of parts
    assert_right(problem([2] * 20, dtype=torch.float32, device=device, hot=7), Scale())
    assert_right(problem([1] * 20, dtype=torch.float32, device=device, hot=7), Scale())
    check_adding(device)
    check_repeats(device)


def check_adding(device: str) -> None:
    """Rows added into `grad` are what is returned otherwise, twice the second time."""
    given = problem([2] * 18, dtype=torch.float32, device=device, hot=7)
    returned = found(given, Scale())[2]
    for times in (1, 2):
        logp = nucleus_logprob(
            given.hidden, given.weight, given.token, given.plan, grad_weight="add"
        )
        (logp * given.upstream.float()).sum().backward()
        assert_near(given.weight.grad, times * returned, 8)


def check_repeats(device: str) -> None:
    """Twice the same bits, with one id in every nucleus."""
    given = problem([2] * 20, dtype=torch.float32, device=device, hot=7)
    one, other = found(given, Scale()), found(given, Scale())
    assert all(map(torch.equal, one, other))
