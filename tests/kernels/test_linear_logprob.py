"""Log-probs and entropies by tiles against the definition, in values and in gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from munro.kernels import dispatch
from munro.kernels.linear_logprob import linear_logprob, tiled
from munro.kernels.scale import Scale

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
