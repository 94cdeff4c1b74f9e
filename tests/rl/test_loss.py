"""The objective against float64 NumPy written from the formulas, with its gradient by hand."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from munro.rl.clip import Clip
from munro.rl.loss import policy_loss
from munro.rl.metrics import merged
from tests.rounding import assert_near

NO_CLIP = Clip(eps=0.999999, widening=1e9, outer=1e9)
Floats = NDArray[np.float64]


def reference(
    logp: Floats, behaviour: Floats, advantage: Floats, sampled: NDArray[np.bool_], clip: Clip
) -> tuple[float, Floats, dict[str, float]]:
    """Loss (divided by the sampled tokens), its gradient in logp, and metrics, token by token."""
    total, gradient = 0.0, np.zeros_like(logp)
    counts = dict.fromkeys(("clip/low", "clip/high", "clip/outer"), 0.0)
    sums = dict.fromkeys(("policy/entropy", "policy/entropy_clipped", "policy/mismatch_kl"), 0.0)
    num = int(sampled.sum())
    for t in np.flatnonzero(sampled):
        r, A = np.exp(logp[t] - behaviour[t]), advantage[t]
        low, high = 1 - clip.eps, 1 / (1 - clip.eps) + clip.widening
        r_out = min(max(r, 0.0), clip.outer)
        r_tr = min(max(r, low), high)
        total += min(r_out * A, r_tr * A)
        # the derivative of r in logp is r; where the minimum lies on a bound it is 0
        if A > 0:
            first, last = 0.0, min(high, clip.outer)
            counts["clip/high" if high < clip.outer else "clip/outer"] += r > last
        elif A < 0:
            first, last = low, max(high, clip.outer)
            counts["clip/low"] += r < first
            counts["clip/high" if high > clip.outer else "clip/outer"] += r > last
        if A != 0 and first <= r <= last:
            gradient[t] = -A * r / num
        sums["policy/entropy"] += -logp[t] * r
        sums["policy/entropy_clipped"] += -logp[t] * r_out
        sums["policy/mismatch_kl"] += r - 1 - (logp[t] - behaviour[t])
    return -total / num, gradient, counts | sums


def ours(
    logp: Floats, behaviour: Floats, advantage: Floats, sampled: NDArray[np.bool_], clip: Clip
) -> tuple[float, Floats, dict[str, float]]:
    leaf = torch.tensor(logp, requires_grad=True)
    loss, metrics = policy_loss(
        leaf,
        torch.tensor(behaviour),
        torch.tensor(advantage),
        torch.tensor(sampled),
        clip=clip,
        num_global_tokens=int(sampled.sum()),
    )
    loss.backward()
    return loss.item(), leaf.grad.numpy(), {name: float(x) for name, x in metrics.items()}


def assert_same(got, expected: tuple[float, Floats, Mapping[str, float]]) -> None:
    assert got[0] == pytest.approx(expected[0], rel=1e-12, abs=1e-12)
    np.testing.assert_allclose(got[1], expected[1], rtol=1e-12, atol=1e-14)
    assert {name: got[2][name] for name in expected[2]} == pytest.approx(expected[2], rel=1e-10)


@pytest.mark.parametrize("widening", [0.0, 2.5])
@pytest.mark.parametrize("outer", [50.0, 2.0])
def test_loss_gradient_and_metrics_are_those_of_the_formula_and_every_branch_is_hit(
    widening, outer
):
    rng = np.random.default_rng(0)
    num = 4000
    logp, behaviour = rng.normal(-2, 1.5, num), rng.normal(-3, 1.5, num)
    advantage = np.where(rng.random(num) < 0.1, 0.0, rng.normal(0, 1, num))
    sampled = rng.random(num) < 0.8
    clip = Clip(eps=0.6, widening=widening, outer=outer)

    got = ours(logp, behaviour, advantage, sampled, clip)
    assert_same(got, reference(logp, behaviour, advantage, sampled, clip))

    ratio = np.exp(logp - behaviour)[sampled]
    A = advantage[sampled]
    branches = {
        "inside": (ratio > clip.low) & (ratio < min(clip.high, outer)) & (A != 0),
        "A>0 above": (A > 0) & (ratio > clip.high),
        "A>0 below": (A > 0) & (ratio < clip.low),
        "A<0 below": (A < 0) & (ratio < clip.low),
        "A<0 above, under the outer": (A < 0) & (ratio > clip.high) & (ratio < max(outer, 50)),
        "A<0 beyond the outer": (A < 0) & (ratio > outer),
        "A=0": A == 0,
    }
    assert all(branch.any() for branch in branches.values())
    assert all(got[2][name] > 0 for name in ("clip/low", "clip/high", "clip/outer"))


TOKENS = st.lists(
    st.tuples(st.floats(-20, 0), st.floats(-20, 0), st.floats(-5, 5), st.booleans()),
    min_size=1,
    max_size=20,
).filter(lambda tokens: any(token[3] for token in tokens))


def near_a_bound(tokens, clip: Clip) -> bool:
    """Within rounding of a corner, where the gradient jumps and two ways may differ."""
    ratios = [np.exp(t[0] - t[1]) for t in tokens]
    return any(
        abs(r - bound) < 1e-9 * bound for r in ratios for bound in (clip.low, clip.high, clip.outer)
    )


@example([(-1.0, 0.0, -5e-324, True)], 0.5, 0.0, 2.0)
@given(TOKENS, st.floats(0.05, 0.95), st.floats(0, 5), st.floats(1.01, 60))
@settings(max_examples=100, deadline=None)
def test_any_tokens_and_any_bounds_agree_with_the_formula(tokens, eps, widening, outer):
    clip = Clip(eps=eps, widening=widening, outer=outer)
    if near_a_bound(tokens, clip):
        return
    columns = [np.array(column) for column in zip(*tokens, strict=True)]
    assert_same(ours(*columns, clip), reference(*columns, clip))


def test_the_first_step_gradient_is_minus_advantage():
    logp = torch.tensor([-1.0, -2.0, -0.5, -1.0], requires_grad=True)
    advantage = torch.tensor([2.0, -1.0, 3.0, 9.0])
    sampled = torch.tensor([True, True, True, False])
    loss, _ = policy_loss(
        logp, logp.detach(), advantage, sampled, clip=NO_CLIP, num_global_tokens=3
    )
    loss.backward()
    assert_near(logp.grad, torch.tensor([-2.0, 1.0, -3.0, 0.0]) / 3, 4)


@pytest.mark.parametrize("rubbish", [float("-inf"), float("inf"), float("nan")])
def test_whatever_lies_off_the_sampled_tokens_leaves_no_trace(rubbish):
    logp = torch.tensor([-1.0, rubbish, -0.5], requires_grad=True)
    others = torch.tensor([-1.1, rubbish, -0.7]), torch.tensor([1.0, rubbish, -1.0])
    sampled = torch.tensor([True, False, True])
    loss, metrics = policy_loss(logp, *others, sampled, clip=Clip(), num_global_tokens=2)
    loss.backward()

    left = [x[sampled].detach() for x in (logp, *others)]
    expected, expected_metrics = policy_loss(
        *left, torch.ones(2, dtype=torch.bool), clip=Clip(), num_global_tokens=2
    )
    assert loss.item() == expected.item()
    assert metrics == expected_metrics
    assert logp.grad.isfinite().all()
    assert logp.grad[1] == 0


def test_a_ratio_beyond_float32_is_discarded_and_not_nan():
    logp = torch.tensor([-0.1, -0.2], requires_grad=True)
    behaviour = torch.tensor([-200.0, -0.2])
    loss, metrics = policy_loss(
        logp,
        behaviour,
        torch.tensor([-1.0, 1.0]),
        torch.ones(2, dtype=torch.bool),
        clip=Clip(),
        num_global_tokens=2,
    )
    loss.backward()
    assert loss.item() == pytest.approx((50 - 1) / 2)
    assert logp.grad.tolist() == [0.0, -0.5]
    assert metrics["clip/outer"] == 1


def test_cutting_a_batch_into_micro_batches_changes_nothing():
    rng = torch.Generator().manual_seed(1)
    logp, behaviour = (-3 * torch.rand(60, generator=rng, dtype=torch.float64) for _ in range(2))
    advantage = torch.randn(60, generator=rng, dtype=torch.float64)
    sampled = torch.rand(60, generator=rng) < 0.7
    num = int(sampled.sum())
    clip = Clip(eps=0.3)

    whole, sums = policy_loss(logp, behaviour, advantage, sampled, clip=clip, num_global_tokens=num)
    loss, added = 0.0, {}
    for part in torch.randperm(60, generator=rng).split([7, 30, 0, 23]):
        piece, more = policy_loss(
            logp[part],
            behaviour[part],
            advantage[part],
            sampled[part],
            clip=clip,
            num_global_tokens=num,
        )
        loss += piece.item()
        added = merged(added, {name: float(value) for name, value in more.items()})

    assert loss == pytest.approx(whole.item(), rel=1e-12)
    assert added == pytest.approx({name: float(value) for name, value in sums.items()}, rel=1e-12)
