"""The whole head on a card, at real sizes: exact, repeatable, and nothing waits for it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from munro.kernels.linear_logprob import linear_logprob
from munro.kernels.scale import Scale
from tests.kernels.poison import poisoned

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings("ignore:.*determinis"),
    pytest.mark.filterwarnings("ignore:.*CuBLAS"),
]
V = 3 * 8192
ODD = 2 * 8192 + 3617
CAPPED = Scale(temperature=0.7, softcap=30.0)
WAYS = ["rows", "gemm"]


@pytest.fixture(params=WAYS)
def way(request, monkeypatch):
    """Few sizes of programs, for each that is new is compiled."""
    from munro.kernels.linear_logprob import fused

    monkeypatch.setattr(fused, "TILING", fused.Tiling(way=request.param, rows=512))
    return request.param


@pytest.fixture(name="poisoned")
def without_numbers():
    with poisoned(warns=True):
        yield


def problem(
    T: int, *, num_vocab: int = V, D: int = 576, dtype: torch.dtype = torch.bfloat16
) -> tuple[Tensor, ...]:
    torch.manual_seed(1)
    hidden = torch.randn(T, D, device="cuda").to(dtype).requires_grad_()
    weight = (torch.randn(num_vocab, D, device="cuda") * (6 / D**0.5)).requires_grad_()
    return hidden, weight, torch.randint(num_vocab, (T,), device="cuda")


def nuclei(token_T: Tensor) -> tuple[Tensor, Tensor]:
    """Every third position keeps 3,000 tokens beside its own."""
    T = len(token_T)
    count_T = torch.where(torch.arange(T) % 3 == 0, 3001, 0)
    starts = torch.cat([torch.zeros(1, dtype=torch.int64), count_T.cumsum(0)])
    # different ones beside the position's own
    away = torch.cat([torch.zeros(1, dtype=torch.int64), 1 + torch.randperm(V - 1)[:3000]])
    return ((token_T[::3, None] + away.cuda()) % V).flatten(), starts.cuda()


def truth(
    hidden: Tensor, weight: Tensor, token: Tensor, scale: Scale, kept: tuple[Tensor, Tensor] | None
) -> tuple[Tensor, ...]:
    """Log-probs, entropies and both gradients in float64, of operands in bfloat16."""
    h = hidden.detach().bfloat16().double().requires_grad_()
    w = weight.detach().bfloat16().double().requires_grad_()
    logit = h @ w.T
    if scale.softcap:
        logit = scale.softcap * torch.tanh(logit / scale.softcap)
    logit = logit / scale.temperature
    if kept is not None:
        ids, starts = kept
        owner = torch.arange(len(token), device="cuda").repeat_interleave(starts.diff())
        allowed = (starts.diff() == 0)[:, None].expand(logit.shape).clone()
        allowed[owner, ids] = True
        logit = logit.masked_fill(~allowed, float("-inf"))
    logp_TV = logit.log_softmax(-1)
    logp = logp_TV.gather(-1, token[:, None])[:, 0]
    entropy = -(logp_TV.exp() * logp_TV.masked_fill(logp_TV.isneginf(), 0.0)).sum(-1)
    (logp * up(logp) + entropy * up(logp).flip(0)).sum().backward()
    return logp.detach(), entropy.detach(), h.grad, w.grad


def up(logp: Tensor) -> Tensor:
    return torch.linspace(-2, 3, len(logp), device="cuda", dtype=logp.dtype)


def ours(
    hidden: Tensor, weight: Tensor, token: Tensor, *, precision: str = "bf16", **options
) -> tuple[Tensor, ...]:
    hidden.grad = weight.grad = None
    logp, entropy = linear_logprob(
        hidden, weight, token, entropy=True, precision=precision, **options
    )
    (logp * up(logp) + entropy * up(logp).flip(0)).sum().backward()
    return logp.detach(), entropy.detach(), hidden.grad, weight.grad


@pytest.mark.parametrize("capped", [False, True])
def test_values_and_gradients_are_those_of_float64(way, poisoned, capped):
    hidden, weight, token = problem(1001)
    scale = CAPPED if capped else Scale()
    kept = nuclei(token) if capped and way == "rows" else None
    expected = truth(hidden, weight, token, scale, kept)
    got = ours(hidden, weight, token, scale=scale, kept=kept)
    assert (got[0].double() - expected[0]).abs().max() <= 1e-4
    assert (got[1].double() - expected[1]).abs().max() <= 1e-4
    for one, other in zip(got[2:], expected[2:], strict=True):
        assert (one.double() - other).norm() <= 4e-3 * other.norm()


@pytest.mark.parametrize(
    ("precision", "bound"), [("bf16x3", 2e-5), ("tf32x3", 2e-5), ("ieee", 2e-5), ("bf16", 5e-3)]
)
def test_a_precision_is_as_exact_as_its_name(precision, bound):
    hidden, weight, token = problem(301, dtype=torch.float32)
    exact = [leaf.detach().double().requires_grad_() for leaf in (hidden, weight)]
    logp_TV = (exact[0] @ exact[1].T).log_softmax(-1)
    logp, entropy = logp_TV.gather(-1, token[:, None])[:, 0], -(logp_TV.exp() * logp_TV).sum(-1)
    (logp * up(logp) + entropy * up(logp).flip(0)).sum().backward()
    got = ours(hidden, weight, token, precision=precision)
    for one, other in zip(got[2:], exact, strict=True):
        assert one.dtype == torch.float32
        assert (one.double() - other.grad).norm() <= bound * other.grad.norm()


@pytest.mark.parametrize("T", [0, 3])
def test_few_positions_or_none_and_a_vocabulary_that_no_block_divides(way, poisoned, T):
    hidden, weight, token = problem(T, num_vocab=ODD)
    expected = truth(hidden, weight, token, Scale(), None)
    got = ours(hidden, weight, token)
    for one, other in zip(got, expected, strict=True):
        assert one.shape == other.shape
        assert one.isfinite().all()
        assert (one.double() - other).norm() <= 5e-3 * other.norm() + 1e-6


def test_the_same_call_twice_gives_the_same_bits(way):
    hidden, weight, token = problem(3000)
    first = [found.clone() for found in ours(hidden, weight, token)]
    for one, other in zip(first, ours(hidden, weight, token), strict=True):
        assert torch.equal(one, other)


def test_a_gradient_is_added_in_place_to_what_is_there(way):
    hidden, weight, token = problem(700)
    returned = ours(hidden, weight, token)[3].clone()
    weight.grad = torch.ones_like(weight)
    at = weight.grad.data_ptr()
    logp, entropy = linear_logprob(
        hidden, weight, token, entropy=True, precision="bf16", grad_weight="add"
    )
    (logp * up(logp) + entropy * up(logp).flip(0)).sum().backward()
    assert weight.grad.data_ptr() == at
    torch.testing.assert_close(weight.grad, 1 + returned, rtol=1e-5, atol=1e-4)


def test_nothing_waits_for_the_card(way):
    hidden, weight, token = problem(1001)
    kept = nuclei(token)
    ours(hidden, weight, token, kept=kept, scale=CAPPED)  # compiled
    ours(hidden, weight, token)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        ours(hidden, weight, token)
        ours(hidden, weight, token, kept=kept, scale=CAPPED)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_the_forward_pass_settles_the_precision_of_the_backward_pass():
    hidden, weight, token = problem(500, dtype=torch.float32)
    found = []
    for inside in (True, False):
        with torch.autocast("cuda", torch.bfloat16):
            logp, entropy = linear_logprob(hidden, weight, token, entropy=True)
        with torch.autocast("cuda", torch.bfloat16, enabled=inside):
            value = (logp + entropy).sum()
            found.append(torch.autograd.grad(value, [hidden, weight]))
    assert logp.dtype == torch.float32
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
