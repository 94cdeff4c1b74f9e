"""Log-probs from hidden states against logits written out in full."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from munro.base_model.device.feed import moved
from munro.kernels.linear_logprob import tiled
from munro.kernels.nucleus_logprob import gathered
from munro.kernels.scale import Scale
from munro.rl.policy.logprob import GATHER_COST, prepare, sampled_logp
from munro.rl.policy.model import LogProbHead
from tests.rounding import assert_near
from tests.syncs import Synchronisations

PLAIN = Scale()
SOFTCAPPED = Scale(temperature=0.7, softcap=3.0)


def scored(hidden, weight, token, ids, starts, *, scale: Scale = PLAIN, **how) -> Tensor:
    """As the learner does: decided on the host, then computed."""
    targets = prepare(token.numpy(), ids.numpy(), starts.numpy(), len(weight))
    return sampled_logp(hidden, weight, moved(targets, hidden.device), scale=scale, **how)


def naive(
    hidden: Tensor, weight: Tensor, token: Tensor, ids: Tensor, starts: Tensor, scale: Scale
) -> Tensor:
    logits = hidden @ weight.T
    if scale.softcap:
        logits = scale.softcap * torch.tanh(logits / scale.softcap)
    logits = logits / scale.temperature
    allowed = torch.zeros_like(logits, dtype=torch.bool)
    for row in range(len(token)):
        kept = ids[starts[row] : starts[row + 1]]
        allowed[row, kept if len(kept) else slice(None)] = True
    logits = logits.masked_fill(~allowed, float("-inf"))
    return logits.log_softmax(-1).gather(-1, token[:, None])[:, 0]


def problem(
    widths: list[int], *, num_vocab: int = 300, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    rng = torch.Generator().manual_seed(3)
    hidden = torch.randn(len(widths), 16, generator=rng).to(dtype)
    weight = torch.randn(num_vocab, 16, generator=rng).to(dtype)
    token = torch.randint(num_vocab, (len(widths),), generator=rng)
    kept = []
    for row, width in enumerate(widths):
        others = torch.randperm(num_vocab, generator=rng)
        others = others[others != token[row]]
        kept.append(
            torch.cat([others[: max(width - 1, 0)], token[row : row + 1 if width else row]])
        )
    starts = torch.tensor([0, *(len(ids) for ids in kept)]).cumsum(0)
    return hidden, weight, token, torch.cat(kept), starts


CASES = {
    "no nucleus": [0] * 11,
    "small nuclei": [1, 3, 8, 2, 5, 1, 7],
    "some without": [3, 0, 8, 0, 0, 2, 1],
    "wide nuclei": [290, 120, 1, 300, 4],
    "wide nuclei, some without": [290, 0, 200, 0],
}


@pytest.mark.parametrize("scale", [Scale(), Scale(temperature=0.6), SOFTCAPPED], ids=str)
@pytest.mark.parametrize("widths", CASES.values(), ids=CASES)
def test_values_and_both_gradients_are_those_of_the_full_softmax(widths, scale, monkeypatch):
    # tiles far smaller than the problem, none of which divides it
    monkeypatch.setattr(tiled, "VOCAB_TILE", 77)
    monkeypatch.setattr(gathered, "GATHER_TILE", 5)
    hidden, weight, token, ids, starts = problem(widths)
    leaves = [hidden.requires_grad_(), weight.requires_grad_()]
    upstream = torch.linspace(-2, 3, len(widths), dtype=torch.float64)

    expected = naive(hidden, weight, token, ids, starts, scale)
    expected_grads = torch.autograd.grad((expected * upstream).sum(), leaves)
    got = scored(hidden, weight, token, ids, starts, scale=scale, tile=3)
    got_grads = torch.autograd.grad((got * upstream).sum(), leaves)

    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    for ours, theirs in zip(got_grads, expected_grads, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("widths", [[0] * 40, [20] * 40], ids=["tiled", "gathered"])
def test_float32_gradients_are_right_to_1e_5(widths):
    hidden, weight, token, ids, starts = problem(widths, num_vocab=20_000, dtype=torch.float32)
    exact = [hidden.double().requires_grad_(), weight.double().requires_grad_()]
    leaves = [hidden.requires_grad_(), weight.requires_grad_()]

    scored(hidden, weight, token, ids, starts).mean().backward()
    naive(*exact, token, ids, starts, Scale()).mean().backward()

    for ours, theirs in zip(leaves, exact, strict=True):
        # a sum over all words, and over all rows
        assert_near(ours.grad, theirs.grad, 16 + len(weight) + len(widths))


def test_a_nucleus_of_one_token_is_certain_and_teaches_nothing():
    hidden, weight, token, ids, starts = problem([1, 1, 1])
    hidden.requires_grad_()
    logp = scored(hidden, weight, token, ids, starts)
    logp.sum().backward()
    assert logp.abs().max() == 0
    assert hidden.grad.abs().max() == 0


def test_small_nuclei_never_touch_the_rest_of_the_vocabulary():
    hidden, weight, token, ids, starts = problem([2, 4, 3])
    outside = torch.ones(len(weight), dtype=torch.bool)
    outside[ids] = False
    weight[outside] = float("nan")
    assert scored(hidden, weight, token, ids, starts).isfinite().all()


def test_the_same_call_twice_is_bitwise_the_same():
    hidden, weight, token, ids, starts = problem([7] * 200, num_vocab=3000, dtype=torch.float32)
    weight.requires_grad_()
    grads = []
    for _ in range(2):
        logp = scored(hidden, weight, token, ids, starts)
        grads.append(torch.autograd.grad(logp.sum(), weight)[0])
    assert torch.equal(*grads)


ROUNDED = {"no nucleus": [0] * 40, "small nuclei": [5] * 40, "wide nuclei": [280, 0, 300] * 12}


def trained_size(widths: list[int]) -> tuple[Tensor, ...]:
    """Logits of a trained model's size: a deviation of 6, float32 leaves."""
    hidden, weight, *rest = problem(widths, dtype=torch.float32)
    return (hidden.mul_(1.5).requires_grad_(), weight.requires_grad_(), *rest)


@pytest.mark.parametrize("widths", ROUNDED.values(), ids=ROUNDED)
def test_under_autocast_only_what_is_multiplied_is_rounded(widths, monkeypatch):
    monkeypatch.setattr(tiled, "VOCAB_TILE", 77)
    hidden, weight, token, ids, starts = trained_size(widths)
    upstream = torch.linspace(-2, 3, len(widths))
    with torch.autocast("cpu", torch.bfloat16):
        got = scored(hidden, weight, token, ids, starts, tile=7)
    got_grads = torch.autograd.grad((got * upstream).sum(), [hidden, weight])

    exact = [leaf.detach().bfloat16().double().requires_grad_() for leaf in (hidden, weight)]
    expected = naive(*exact, token, ids, starts, Scale())
    expected_grads = torch.autograd.grad((expected * upstream.double()).sum(), exact)

    # float32 sums of 16 products of a size of 6 to 30, then of 300 shares: some 1e-6 each
    assert got.dtype == torch.float32
    assert (got.double() - expected).abs().max() < 1e-4
    for ours, theirs in zip(got_grads, expected_grads, strict=True):
        # the derivative by a logit is an operand too: 2^-9 of each, no more in their sum
        assert ours.dtype == torch.float32
        assert (ours.double() - theirs).norm() < 4e-3 * theirs.norm()


@pytest.mark.parametrize("widths", ROUNDED.values(), ids=ROUNDED)
def test_a_backward_pass_is_the_same_bits_inside_and_outside_autocast(widths):
    hidden, weight, token, ids, starts = trained_size(widths)
    found = []
    for inside in (True, False):
        with torch.autocast("cpu", torch.bfloat16):
            logp = scored(hidden, weight, token, ids, starts, tile=7)
        with torch.autocast("cpu", torch.bfloat16, enabled=inside):
            found.append(torch.autograd.grad(logp.sum(), [hidden, weight]))
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


@pytest.mark.parametrize("widths", CASES.values(), ids=CASES)
def test_nothing_between_the_host_s_decision_and_the_gradients_waits_for_a_device(widths):
    hidden, weight, token, ids, starts = problem(widths, dtype=torch.float32)
    targets = moved(prepare(token.numpy(), ids.numpy(), starts.numpy(), 300), hidden.device)
    leaves = hidden.requires_grad_(), weight.requires_grad_()
    with Synchronisations() as found:
        for how in ("return", "add"):
            sampled_logp(*leaves, targets, scale=Scale(), grad_weight=how).sum().backward()
    assert found.total == 0, found.counts


@pytest.mark.parametrize("widths", CASES.values(), ids=CASES)
def test_a_gradient_that_is_added_in_place_is_the_one_that_is_returned(widths):
    found = []
    for how in ("return", "add"):
        hidden, weight, *rest = problem(widths, dtype=torch.float32)
        weight.requires_grad_()
        for _ in range(2):
            scored(hidden, weight, *rest, grad_weight=how).sum().backward()
        found.append(weight.grad)
    assert_near(*found, 4 * len(widths))


def test_nuclei_are_gathered_up_to_the_width_at_which_the_whole_vocabulary_costs_less():
    for kind, cost in GATHER_COST.items():
        for extra, is_near in ((0, True), (1, False)):
            vocabulary, width = 100 * cost, 100 + extra
            ids = np.arange(width)
            targets = prepare(ids[:1], ids, np.asarray([0, width]), vocabulary, kind=kind)
            assert (targets.near is not None) == is_near
            assert (targets.wide is None) == is_near


def test_a_nucleus_without_its_token_is_refused():
    with pytest.raises(ValueError, match="position 1 holds its token 5 0 times"):
        prepare(np.asarray([4, 5]), np.asarray([4, 6]), np.asarray([0, 1, 2]), 300)


@pytest.mark.parametrize("bias", [False, True])
def test_a_head_that_may_adds_its_gradient_in_place_where_it_can(bias):
    hidden, weight, token, ids, starts = problem([3, 0, 8, 1], dtype=torch.float32)
    targets = moved(prepare(token.numpy(), ids.numpy(), starts.numpy(), 300), hidden.device)
    grads = []
    for adds in (False, True):
        linear = torch.nn.Linear(16, 300, bias=bias)
        linear.weight.data.copy_(weight)
        if bias:
            linear.bias.data.zero_()
        head = LogProbHead(linear)
        head.adds = adds
        head(hidden, targets, scale=PLAIN, tile=3).sum().backward()
        grads.append(linear.weight.grad)
    assert_near(*grads, 16)


@pytest.mark.parametrize(("tile", "again"), [(6, 0), (3, 2)])
def test_logits_of_so_many_positions_wait_for_the_backward_pass(monkeypatch, tile, again):
    """Those of further ones are computed again, in 4 tiles of 3 positions and half a vocabulary."""
    made = []

    def counted(*operands):
        made.append(operands)
        return product(*operands)

    product = tiled.fresh_product
    monkeypatch.setattr(tiled, "fresh_product", counted)
    monkeypatch.setattr(tiled, "VOCAB_TILE", 150)
    hidden, weight, token, ids, starts = problem([0] * 6, dtype=torch.float32)
    logp = scored(hidden.requires_grad_(), weight, token, ids, starts, tile=tile)
    forward = len(made)
    logp.sum().backward()
    assert (forward, len(made) - forward) == (2 * 6 // tile, again)
