"""Log-probs and entropies by tiles against the definition, in values and in gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from munro.kernels import dispatch
from munro.kernels.linear_logprob import linear_logprob, tiled
from munro.kernels.precision import NoSuchPrecision, Precision
from munro.kernels.scale import Scale
from tests.kernels.poison import poisoned
from tests.syncs import Synchronisations

SCALES = [Scale(), Scale(temperature=0.6), Scale(temperature=0.7, softcap=3.0)]


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    monkeypatch.setattr(tiled, "VOCAB_TILE", 77)


@pytest.fixture
def asked(monkeypatch):
    def ask(name: str) -> None:
        monkeypatch.setenv(dispatch.VARIABLE, name)
        dispatch.decided.cache_clear()

    yield ask
    monkeypatch.undo()
    dispatch.decided.cache_clear()


def problem(T: int, V: int = 300, D: int = 16, dtype=torch.float64) -> tuple[Tensor, ...]:
    rng = torch.Generator().manual_seed(3)
    hidden = torch.randn(T, D, generator=rng, dtype=torch.float64).to(dtype).requires_grad_()
    weight = torch.randn(V, D, generator=rng, dtype=torch.float64).to(dtype).requires_grad_()
    return hidden, weight, torch.randint(V, (T,), generator=rng)


def nuclei(widths: list[int], token: Tensor, V: int = 300) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(4)
    kept = []
    for row, width in enumerate(widths):
        others = torch.randperm(V, generator=rng)
        others = others[others != token[row]][: max(width - 1, 0)]
        kept.append(torch.cat([others, token[row : row + (width > 0)]]))
    return torch.cat(kept), torch.tensor([0, *map(len, kept)]).cumsum(0)


def outcome(hidden: Tensor, weight: Tensor, token: Tensor, **options) -> tuple[Tensor, ...]:
    logp, entropy = linear_logprob(hidden, weight, token, **options)
    upstream = torch.linspace(-2, 3, len(token), dtype=torch.float64).to(logp.dtype)
    value = (logp * upstream).sum()
    if entropy is not None:
        value = value + (entropy * upstream.flip(0)).sum()
    grads = torch.autograd.grad(value, [hidden, weight])
    return (logp, *(() if entropy is None else (entropy,)), *grads)


KEPT = {
    "everything": None,
    "wide": [290, 120, 1, 300, 4, 77, 2, 9, 1, 1, 200],
    "some": [290, 0, 200, 0, 3, 0, 1, 300, 2, 1, 0],
}


@pytest.mark.parametrize("widths", KEPT.values(), ids=KEPT)
@pytest.mark.parametrize("scale", SCALES, ids=str)
@pytest.mark.parametrize("entropy", [False, True], ids=["", "entropy"])
def test_tiles_give_what_the_definition_gives(asked, widths, scale, entropy):
    hidden, weight, token = problem(11)
    kept = None if widths is None else nuclei(widths, token)
    options = {"scale": scale, "entropy": entropy, "kept": kept}
    asked("reference")
    expected = outcome(hidden, weight, token, **options)
    asked("plain")
    got = outcome(hidden, weight, token, **options, tile=4)
    for ours, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("T", [0, 1, 2, 5])
@pytest.mark.parametrize("V", [1, 76, 77, 78, 155])
def test_any_size_will_do(asked, T, V):
    hidden, weight, token = problem(T, V)
    asked("reference")
    expected = outcome(hidden, weight, token, entropy=True)
    asked("plain")
    got = outcome(hidden, weight, token, entropy=True, tile=2)
    for ours, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)


@pytest.fixture(name="poisoned")
def without_numbers():
    with poisoned():
        assert torch.empty(3).isnan().all()
        yield


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("keeps", [True, False])
def test_memory_that_holds_no_numbers_is_never_looked_at(dtype, keeps):
    keep_bytes = 2**20 if keeps else 0
    hidden, weight, token = problem(11, dtype=dtype)
    for entropy in (False, True):
        kept = nuclei([0, 5] * 5 + [0], token) if entropy else None
        options = {"entropy": entropy, "kept": kept, "tile": 4, "keep_bytes": keep_bytes}
        for found in outcome(hidden, weight, token, **options):
            assert found.isfinite().all()


def test_both_outputs_pass_gradcheck(monkeypatch):
    monkeypatch.setattr(tiled, "VOCAB_TILE", 4)
    hidden, weight, token = problem(3, 7, 2)
    options = {"scale": SCALES[2], "entropy": True, "kept": nuclei([0, 3, 1], token, 7)}
    assert torch.autograd.gradcheck(
        lambda h, w: linear_logprob(h, w, token, **options, tile=2), (hidden, weight)
    )


@pytest.mark.parametrize("kept", [False, True])
def test_operands_of_bfloat16_have_exact_sums(kept):
    hidden, weight, token = problem(40, dtype=torch.bfloat16)
    nucleus = nuclei([0, 100] * 20, token) if kept else None
    exact = [leaf.detach().double().requires_grad_() for leaf in (hidden, weight)]
    expected = outcome(*exact, token, entropy=True, kept=nucleus)
    got = outcome(hidden, weight, token, entropy=True, kept=nucleus, tile=7)
    for ours, theirs in zip(got[:2], expected[:2], strict=True):
        assert ours.dtype == torch.float32
        assert (ours.double() - theirs).abs().max() < 1e-4
    for ours, theirs in zip(got[2:], expected[2:], strict=True):
        assert ours.dtype == torch.bfloat16
        assert (ours.double() - theirs).norm() < 5e-3 * theirs.norm()


@pytest.mark.parametrize("entropy", [False, True])
def test_the_same_call_twice_gives_the_same_bits(entropy):
    hidden, weight, token = problem(200, 500, dtype=torch.float32)
    first = outcome(hidden, weight, token, entropy=entropy, tile=64)
    again = outcome(hidden, weight, token, entropy=entropy, tile=64)
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))


@pytest.mark.parametrize("nucleus", [False, True])
def test_no_pass_asks_the_device_for_a_number(nucleus):
    hidden, weight, token = problem(11, dtype=torch.float32)
    kept = nuclei([0, 120] * 5 + [3], token) if nucleus else None
    with Synchronisations() as found:
        logp, entropy = linear_logprob(hidden, weight, token, entropy=True, kept=kept, tile=4)
        (logp + entropy).sum().backward()
    assert found.total == 0, found.counts


def test_a_frozen_matrix_gets_no_gradient_and_no_product():
    hidden, weight, token = problem(5, dtype=torch.float32)
    expected = outcome(hidden, weight, token)[-2]
    weight.requires_grad_(False)
    logp, _ = linear_logprob(hidden, weight, token)
    (logp * torch.linspace(-2, 3, 5)).sum().backward()
    assert torch.equal(hidden.grad, expected)
    assert weight.grad is None


def test_a_gradient_is_added_where_one_is():
    hidden, weight, token = problem(5, dtype=torch.float32)
    returned = outcome(hidden, weight, token)[-1]
    weight.grad = torch.ones_like(weight)
    there = weight.grad.data_ptr()
    logp, _ = linear_logprob(hidden, weight, token, grad_weight="add")
    (logp * torch.linspace(-2, 3, 5)).sum().backward()
    assert weight.grad.data_ptr() == there
    torch.testing.assert_close(weight.grad, 1 + returned)


@pytest.mark.parametrize(
    "matrix",
    [
        lambda weight: weight * 1,
        lambda weight: weight.detach().bfloat16().requires_grad_(),
    ],
    ids=["no leaf", "bfloat16"],
)
def test_a_gradient_that_cannot_be_added_is_refused_in_a_sentence(matrix):
    hidden, weight, token = problem(5, dtype=torch.float32)
    with pytest.raises(ValueError, match='take "return"'):
        linear_logprob(hidden, matrix(weight), token, grad_weight="add")


@pytest.mark.parametrize("name", ["bf16x3", "tf32x3", "ieee", "operand"])
def test_on_a_cpu_the_near_float32_precisions_are_float32(name):
    hidden, weight, token = problem(5, dtype=torch.float32)
    expected = outcome(hidden, weight, token, precision="ieee")
    got = outcome(hidden, weight, token, precision=name)
    assert all(torch.equal(one, other) for one, other in zip(got, expected, strict=True))


def test_a_precision_that_is_none_is_refused_in_a_sentence():
    hidden, weight, token = problem(2)
    with pytest.raises(NoSuchPrecision, match='no precision "fp8"'):
        linear_logprob(hidden, weight, token, precision="fp8")


@pytest.mark.parametrize("operand", [torch.bfloat16, torch.float32])
def test_the_parts_of_a_split_operand_come_to_near_it(operand):
    x = torch.randn(100, 30, generator=torch.Generator().manual_seed(0))
    large, small = Precision(operand=operand, is_split=True).parts(x)
    assert large.dtype == small.dtype == operand
    assert (large.float() + small.float() - x).abs().max() <= 2**-16 * x.abs().max()
    # what TF32 has of a number: 10 bits after the first
    assert torch.equal(large.float().view(torch.int32) & 0x1FFF, torch.zeros(100, 30).int())
