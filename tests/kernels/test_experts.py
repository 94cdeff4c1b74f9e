"""Experts by torch alone and by Triton's interpreter, against the definition."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from munro.kernels import dispatch
from munro.kernels.experts import count, experts, grouped, reference, route
from tests.kernels.mixtures import (
    ROUTINGS,
    Sizes,
    assert_right,
    check,
    check_routing,
    expected,
    outcome,
    problem,
    tied_scores,
)
from tests.syncs import Synchronisations

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("rounds", [0, 1, 5, 1000])
@pytest.mark.parametrize("routing", ROUTINGS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_torch_alone_gives_what_the_definition_gives(dtype, routing, rounds):
    check(grouped.experts, "cpu", dtype, routing, rounds)


def test_a_large_layer_s_memory_in_huge_pages_is_memory_like_any_other():
    check(grouped.experts, "cpu", torch.float32, "idle experts", 0, width=512, inner=256)


def test_choices_and_counts_are_those_of_a_stable_sort():
    check_routing(grouped, "cpu")


def test_a_score_that_is_no_number_is_chosen_before_all_others():
    scores = tied_scores(9, 12)
    scores[:, 7] = torch.nan
    ids, _ = route(scores, 3)
    assert (ids[:, 0] == 7).all()
    assert torch.equal(ids, reference.route(scores, 3)[0])


def test_the_definition_itself_is_the_gated_sum_of_each_token_s_experts():
    given = problem(Sizes(tokens=4)).to(torch.float64)
    for token in range(4):
        total = torch.zeros(given.x.shape[1], dtype=torch.float64)
        for expert, gate in zip(given.ids[token], given.gates[token], strict=True):
            inner = given.gate_up[expert] @ given.x[token]
            first, second = inner[:36], inner[36:]
            hidden = first * torch.sigmoid(first) * second
            total += gate * (given.down[expert] @ hidden)
        answer = reference.experts(given.x, given.gate_up, given.down, given.ids, given.gates)
        torch.testing.assert_close(answer[token], total, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("inside", [True, False])
def test_autocast_settles_the_products_precision_for_the_way_back_too(inside):
    given = problem(dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        out = experts(given.x, given.gate_up, given.down, given.ids, given.gates)
    with torch.autocast("cpu", torch.bfloat16, enabled=inside):
        grads = torch.autograd.grad((out * given.upstream).sum(), given.leaves)
    assert all(one.dtype == torch.float32 for one in (out, *grads))
    rounded = problem(dtype=torch.bfloat16)
    assert_right([out, *grads], expected(rounded), rounded)
    bare = outcome(experts, rounded)
    for ours, theirs in zip((out, *grads), bare, strict=True):
        assert torch.equal(ours.to(theirs.dtype), theirs)


@pytest.mark.parametrize("wanted", range(4))
def test_each_gradient_comes_alone(wanted):
    given = problem()
    whole = outcome(experts, given)
    for index, leaf in enumerate(given.leaves):
        leaf.requires_grad_(index == wanted)
    out = experts(given.x, given.gate_up, given.down, given.ids, given.gates)
    (alone,) = torch.autograd.grad((out * given.upstream).sum(), [given.leaves[wanted]])
    assert torch.equal(alone, whole[1 + wanted])


def test_an_answer_without_gradient_is_the_same():
    given = problem()
    with torch.no_grad():
        bare = experts(given.x, given.gate_up, given.down, given.ids, given.gates)
    assert torch.equal(bare, outcome(experts, given)[0])


INTERPRETED = """
import torch
from munro.kernels.experts import experts, fused
from munro.kernels.experts.products import fused as products
from tests.kernels.mixtures import ROUTINGS, check, check_routing
check_routing(fused, "cpu")
small = dict(tokens=9, width=24, inner=20, experts=4, top_k=2)
for routing in ROUTINGS:
    check(experts, "cpu", torch.float32, routing, 0, **small)
check(experts, "cpu", torch.bfloat16, "idle experts", 0, **small)
check(experts, "cpu", torch.float32, "all to one", 4, **small)
check(experts, "cpu", torch.float32, "even", 0, tokens=70, width=70, inner=34, experts=2, top_k=1)
some = torch.full((3, 5, 7), torch.nan)
products.zeroed(some, torch.tensor([2, 0, 1], dtype=torch.int32))
assert not some[1].any() and some[::2].isnan().all()
"""


def test_kernels_in_triton_s_interpreter_give_what_the_definition_gives():
    pytest.importorskip("triton", reason="no Triton for this platform")
    done = subprocess.run(
        [sys.executable, "-c", INTERPRETED],
        cwd=ROOT,
        env={**os.environ, "TRITON_INTERPRET": "1", dispatch.VARIABLE: "fused"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]


class Silent:
    """A kernel that is launched and does nothing."""

    def __getitem__(self, grid: Any) -> Any:
        return lambda *args, **kwargs: None


def test_around_the_kernels_nothing_makes_the_host_wait(monkeypatch):
    pytest.importorskip("triton", reason="no Triton for this platform")
    from munro.kernels.experts import fused
    from munro.kernels.experts.products import fused as products
    from munro.kernels.experts.routing import fused as routing

    for module in (fused, products, routing):
        for name in vars(module).copy():
            if hasattr(getattr(module, name), "arg_names"):
                monkeypatch.setattr(module, name, Silent())
    given = problem()
    with Synchronisations() as found:
        fused.route(given.x, 3)
        fused.count(given.ids, 7, given.ids[:, 0] > 2)
        outcome(fused.experts, given)
    assert found.total == 0, found.counts


def test_counting_on_a_cpu_looks_at_no_number():
    scores, ids = tied_scores(8, 7), problem().ids
    with Synchronisations() as found:
        route(scores, 2)
        count(ids, 7, ids[:, 0] > 2)
    assert found.total == 0, found.counts
