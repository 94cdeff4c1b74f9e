"""Small mixtures of experts, and what every twin must make of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from munro.kernels.experts import reference
from tests.kernels.poison import poisoned
from tests.rounding import bound, largest

Mix = Callable[..., Tensor]

ROUTINGS = ("even", "idle experts", "all to one", "one token", "no token")
BFLOAT16 = 2**-5 if os.environ.get("TRITON_INTERPRET") == "1" else 2**-6
"""How far a result may lie from that of its operands, by the largest: three roundings to 2^-9 one
after another, of what is inside, of hidden, and of an answer, and their like going back. Triton's
interpreter cuts off where others round."""


class Sizes(NamedTuple):
    """Of a layer; odd, and beyond a block of the products of float32 in each direction."""

    tokens: int = 67
    width: int = 40
    inner: int = 36
    experts: int = 7
    top_k: int = 3


class Problem(NamedTuple):
    """Leaves, where every token goes, and the gradient that comes back."""

    x: Tensor
    gate_up: Tensor
    down: Tensor
    ids: Tensor
    gates: Tensor
    upstream: Tensor

    @property
    def leaves(self) -> tuple[Tensor, ...]:
        return self.x, self.gate_up, self.down, self.gates

    def to(self, dtype: torch.dtype, device: str = "cpu") -> Problem:
        """The same numbers, rounded; the gates stay as they are unless all becomes float64."""
        own = torch.float64 if dtype == torch.float64 else torch.float32
        types = (dtype, dtype, dtype, torch.int64, own, own)
        moved = (
            given.detach().to(device, kind, copy=True)
            for given, kind in zip(self, types, strict=True)
        )
        made = Problem(*moved)
        for leaf in made.leaves:
            leaf.requires_grad_()
        return made


def problem(
    sizes: Sizes = Sizes(),  # noqa: B008 (a frozen value)
    routing: str = "even",
    dtype: torch.dtype = torch.float32,
) -> Problem:
    rng = torch.Generator().manual_seed(2)
    N, W, I, E, K = sizes  # noqa: E741
    N = {"one token": 1, "no token": 0}.get(routing, N)
    scores = torch.randn(N, E, generator=rng)
    if routing == "idle experts":
        scores[:, 1::2] = -9
    if routing == "all to one":
        scores[:, :K] = 9
    made = Problem(
        torch.randn(N, W, generator=rng),
        torch.randn(E, 2 * I, W, generator=rng) / W**0.5,
        torch.randn(E, W, I, generator=rng) / I**0.5,
        scores.topk(K).indices,
        torch.rand(N, K, generator=rng),
        torch.randn(N, W, generator=rng),
    )
    # rounded first, so that every twin begins with the same numbers
    return made.to(dtype)


def outcome(mix: Mix, given: Problem, round_tokens: int = 0) -> list[Tensor]:
    """The answer, and the gradients of x, gate and up, down, gates."""
    out = mix(given.x, given.gate_up, given.down, given.ids, given.gates, round_tokens)
    return [out, *torch.autograd.grad((out * given.upstream).sum(), given.leaves)]


def expected(given: Problem) -> list[Tensor]:
    return outcome(reference.experts, given.to(torch.float64))


def assert_right(found: list[Tensor], exact: list[Tensor], given: Problem) -> None:
    """Within the arithmetic's bounds of what exact numbers give."""
    N, W = given.x.shape
    terms = W + given.down.shape[2] + given.ids.shape[1] + N + 12
    names = ("answer", "x", "gate_up", "down", "gates")
    for name, ours, true in zip(names, found, exact, strict=True):
        scale = largest(true)
        limit = bound(terms, scale) if given.x.dtype == torch.float32 else BFLOAT16 * scale
        error = largest(ours.double().cpu() - true.double().cpu())
        assert error <= limit, f"{name}: {error} off, {limit} allowed"
        assert ours.isfinite().all(), name


def check(
    mix: Mix, device: str, dtype: torch.dtype, routing: str, rounds: int, **sizes: Any
) -> None:
    """A twin gives what the definition gives, from poisoned memory, and the same bits twice."""
    given = problem(Sizes(**sizes), routing, dtype)
    with poisoned():
        found, again = (outcome(mix, given.to(dtype, device), rounds) for _ in range(2))
    assert_right(found, expected(given), given)
    for one, other in zip(found, again, strict=True):
        assert torch.equal(one, other)
    for gradient, leaf in zip(found[1:], given.leaves, strict=True):
        assert gradient.dtype == leaf.dtype


def tied_scores(N: int, E: int) -> Tensor:
    """Few different numbers, so that most are tied, with both zeros and both infinities."""
    rng = torch.Generator().manual_seed(5)
    scores = torch.randint(-2, 3, (N, E), generator=rng).float()
    scores[torch.rand(N, E, generator=rng) < 0.1] = -0.0
    scores[torch.rand(N, E, generator=rng) < 0.05] = torch.inf
    scores[torch.rand(N, E, generator=rng) < 0.05] = -torch.inf
    return scores


def check_routing(twin: Any, device: str) -> None:
    """Choices, counts and the order of assignments are those of stable sorts."""
    for N, E, K in ((131, 70, 8), (5, 3, 3), (1, 1, 1), (0, 6, 2)):
        scores = tied_scores(N, E)
        ids, counts = twin.route(scores.to(device), K)
        true_ids, true_counts = reference.route(scores, K)
        assert torch.equal(ids.cpu(), true_ids)
        assert torch.equal(counts.cpu(), true_counts)
        counted = torch.rand(N, generator=torch.Generator().manual_seed(1)) < 0.5
        some = twin.count(ids, E, counted.to(device))
        assert torch.equal(some.cpu(), reference.count(true_ids, E, counted))
        assert counts.dtype == some.dtype == torch.int64
