"""The experts on a card, at sizes that are trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from munro.kernels import dispatch
from munro.kernels.experts import count, experts, fused, grouped, reference, route
from tests.kernels.mixtures import (
    BFLOAT16,
    ROUTINGS,
    Problem,
    check,
    check_routing,
    outcome,
    tied_scores,
)
from tests.rounding import largest

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

LAYERS = {
    "L12": (16_384, 512, 768, 512, 8),
    "Qwen3-30B-A3B": (8192, 2048, 768, 128, 8),
}


@contextmanager
def no_waiting() -> Iterator[None]:
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


CASES = {  # each compiles kernels of its own, so there are few
    "float32": (torch.float32, "idle experts", 0),
    "float32 in rounds": (torch.float32, "even", 9),
    "bfloat16 in rounds": (torch.bfloat16, "all to one", 9),
}


@pytest.mark.parametrize(("dtype", "routing", "rounds"), CASES.values(), ids=CASES)
def test_the_fused_twin_gives_what_the_definition_gives(dtype, routing, rounds):
    assert dispatch.twin("experts", torch.device("cuda"), ("plain", "fused")) == "fused"
    check(experts, "cuda", dtype, routing, rounds)


@pytest.mark.parametrize("routing", ROUTINGS)
def test_torch_s_grouped_products_give_it_too(routing):
    check(experts, "cuda", torch.bfloat16, routing, 0, width=64, inner=48, experts=9)


def test_the_plain_twin_gives_it_too():
    check(grouped.experts, "cuda", torch.bfloat16, "idle experts", 0)


def test_choices_counts_and_orders_are_those_of_stable_sorts():
    check_routing(fused, "cuda")
    scores = tied_scores(16_384, 512)
    ids, counts = route(scores.cuda(), 8)
    true_ids, true_counts = reference.route(scores, 8)
    assert torch.equal(ids.cpu(), true_ids)
    assert torch.equal(counts.cpu(), true_counts)
    where = fused.by_expert(ids, 512)
    order = true_ids.flatten().argsort(stable=True)
    assert torch.equal(where.order.cpu().long(), order)
    assert torch.equal(where.ends.cpu().long(), true_counts.cumsum(0))


def layer(name: str) -> Problem:
    N, W, I, E, K = LAYERS[name]  # noqa: E741
    rng = torch.Generator("cuda").manual_seed(0)

    def made(*shape: int, std: float = 1.0) -> torch.Tensor:
        return torch.randn(*shape, device="cuda", generator=rng) * std

    gates, ids = made(N, E).softmax(-1).topk(K)
    given = Problem(
        made(N, W).bfloat16(), made(E, 2 * I, W, std=0.02), made(E, W, I, std=0.02), ids,
        gates / gates.sum(-1, keepdim=True), made(N, W),
    )  # fmt: skip
    for leaf in given.leaves:
        leaf.requires_grad_()
    return given


def as_trained(given: Problem, rounds: int = 0) -> list[torch.Tensor]:
    """Forward under autocast, float32 masters; backward outside."""
    with torch.autocast("cuda", torch.bfloat16):
        out = experts(given.x, given.gate_up, given.down, given.ids, given.gates, rounds)
    return [out, *torch.autograd.grad((out * given.upstream).sum(), given.leaves)]


@pytest.mark.parametrize("name", LAYERS)
def test_a_real_layer_is_right_repeats_and_never_waits(name):
    given = layer(name)
    first = as_trained(given)
    with no_waiting():
        again = as_trained(given)
        ids, _ = route(given.upstream, 8)
        count(ids, given.upstream.shape[1], given.upstream[:, 0] > 0)
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    assert [one.dtype for one in first[1:]] == [leaf.dtype for leaf in given.leaves]
    del again
    exact = Problem(
        given.x.detach().float(), given.gate_up.detach().bfloat16().float(),
        given.down.detach().bfloat16().float(), given.ids, given.gates.detach(), given.upstream,
    )  # fmt: skip
    for leaf in exact.leaves:
        leaf.requires_grad_()
    for ours, true in zip(first, outcome(reference.experts, exact), strict=True):
        assert largest(ours.float().cpu() - true.cpu()) <= BFLOAT16 * largest(true.cpu())


def test_rounds_change_no_more_than_the_rounding_and_bound_what_is_inside():
    given = layer("L12")
    whole = as_trained(given)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    with torch.autocast("cuda", torch.bfloat16), torch.no_grad():
        experts(given.x, given.gate_up, given.down, given.ids, given.gates, 64)
    rounds = torch.cuda.max_memory_allocated() - before
    N, W, I, E, K = LAYERS["L12"]  # noqa: E741
    assert rounds < 2 * (3 * I * E * 64 + 2 * N * K * W) + (64 << 20)
    for ours, theirs in zip(as_trained(given, 64), whole, strict=True):
        assert largest((ours - theirs).float().cpu()) <= BFLOAT16 * largest(theirs.float().cpu())


def test_memory_is_the_activations_and_never_a_product_of_all_places_in_float32():
    given = layer("L12")
    N, W, I, _, K = LAYERS["L12"]  # noqa: E741
    up, down = (weight.detach().bfloat16() for weight in (given.gate_up, given.down))
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    with torch.no_grad():
        experts(given.x, up, down, given.ids, given.gates)
    inside = torch.cuda.max_memory_allocated() - before
    # gate and up, hidden, and rows in or out of it, in bfloat16; the answer in float32
    assert inside < 2 * N * K * (3 * I + W) + 4 * N * W + (64 << 20)
