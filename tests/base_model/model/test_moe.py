"""Routing: choices, gates, replay, load, and the model however its experts are computed."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from munro.base_model.model.balance import GlobalLoad, balance_loss, update_router_bias
from munro.base_model.model.moe import Router
from tests.base_model.tiny_munro import tiny_config, tiny_model, tokens
from tests.rounding import assert_near, depth, largest, near
from tests.syncs import Synchronisations


@pytest.mark.parametrize("option", [{"moe_round_tokens": 3}, {"moe_dispatch": "reference"}])
def test_the_model_is_the_same_however_its_experts_are_computed(option: dict) -> None:
    ids = tokens(2, 12)
    losses, gradients = [], []
    for others in ({}, option):
        model = tiny_model(**others).train()
        loss = model(ids, labels=ids).loss
        loss.backward()
        losses.append(loss.item())
        gradients.append([parameter.grad for parameter in model.parameters()])

    terms = depth(model, ids.numel(), backward=True)
    assert losses[1] == near(losses[0], terms)
    scale = max(map(largest, gradients[0]))
    for plain, other in zip(*gradients, strict=True):
        assert_near(plain, other, terms, scale=scale)


def router(**others: Any) -> Router:
    torch.manual_seed(0)
    made = Router(tiny_config(**others))
    torch.nn.init.normal_(made.weight, std=0.2)
    return made


def test_ties_go_to_the_expert_with_the_lower_index() -> None:
    tied = router()
    torch.nn.init.zeros_(tied.weight)
    assert (tied(torch.randn(100, 32)).experts == torch.tensor([0, 1])).all()


def test_renormalised_shares_are_the_softmax_over_the_chosen_logits() -> None:
    x = torch.randn(50, 32)
    shares, chosen = router()(x), router(gating="topk_softmax")(x)

    assert (shares.experts == chosen.experts).all()
    assert_near(shares.gates, chosen.gates, 32 + 6)
    raw = router(norm_topk_prob=False)(x)
    assert_near(raw.gates, raw.probability.gather(-1, raw.experts), 6)


def test_a_replayed_choice_is_taken_and_its_gates_follow_the_live_router() -> None:
    x = torch.randn(4, 32)
    replay = torch.tensor([[5, 0], [1, 2], [-1, -1], [3, 4]])
    live = router()

    free, told = live(x), live(x, replay)

    assert told.experts.tolist() == [[5, 0], [1, 2], free.experts[2].tolist(), [3, 4]]
    shares = free.probability.gather(-1, told.experts)
    assert_near(told.gates, shares / shares.sum(-1, keepdim=True), 6)
    told.gates[:, 0].sum().backward()
    assert live.weight.grad.abs().sum() > 0


def test_replaying_the_model_s_own_choice_changes_nothing_and_another_s_does() -> None:
    model = tiny_model()
    ids = tokens(2, 9)
    with torch.no_grad():
        free = model(ids)
        own = model(ids, routed_experts=free.routing.experts)
        others = (free.routing.experts + 1) % 6
        forced = model(ids, routed_experts=others)

    assert torch.equal(own.logits, free.logits)
    assert torch.equal(forced.routing.experts, others)
    assert (forced.logits - free.logits).abs().max() > 0.1


def test_counts_cover_the_tokens_that_count() -> None:
    model = tiny_model()
    ids = tokens(2, 9)
    counted = torch.rand(2, 9) < 0.5

    told = model(ids, counted=counted).routing

    assert told.experts.shape == (2, 9, 3, 2)
    assert (told.counts.sum(-1) == 2 * counted.sum()).all()
    assert_near(told.probability.sum(-1), torch.ones(3), 6 + 18)
    for layer in range(3):
        chosen = told.experts[counted][:, layer].flatten()
        assert (torch.bincount(chosen, minlength=6) == told.counts[layer]).all()


def test_around_its_experts_a_mixture_never_makes_the_host_wait() -> None:
    layer = tiny_model().train().model.layers[1]
    # on a CPU sizes are read, which costs nothing there; tests of the kernels look at the others
    layer.mlp.experts.mix = lambda x, gate_up, down, ids, gates, rounds: x * gates.sum(-1)[:, None]
    x = torch.randn(2, 9, 32, requires_grad=True)
    replay = torch.tensor([[0, 1], [-1, -1], [4, 5]]).repeat(6, 1).view(2, 9, 2)
    counted = torch.rand(2, 9) < 0.5
    load = GlobalLoad()
    with Synchronisations() as found:
        inner = layer.mlp_in_norm(x).flatten(0, 1)
        out, choice = layer.mlp(inner, torch.float32, replay.flatten(0, 1))
        counts, probability = choice.load(counted.flatten())
        balance = balance_loss(load.add(counts[None]), probability[None])
        (out.sum() + balance).backward()
        update_router_bias(
            torch.nn.ModuleDict({"router": router(router_bias=True)}), counts[None], rate=0.1
        )
    assert found.total == 0, found.counts


def test_tokens_that_do_not_count_carry_no_gradient_of_the_load() -> None:
    live = router()
    x = torch.randn(8, 32, requires_grad=True)
    counted = torch.arange(8) < 3
    _, probability = live(x).load(counted)
    probability[0].backward()
    assert x.grad[:3].abs().min() > 0
    assert not x.grad[3:].any()


def test_where_no_token_counts_the_load_is_nothing() -> None:
    counts, probability = router()(torch.randn(4, 32)).load(torch.zeros(4, dtype=torch.bool))
    assert not counts.any()
    assert not probability.any()


def test_a_dense_model_has_no_routing() -> None:
    assert tiny_model(sizes={"moe_every": 0})(tokens(1, 5)).routing is None


def test_shared_experts_work_beside_the_chosen_ones() -> None:
    model = tiny_model(sizes={"num_shared_experts": 1})
    ids = tokens(1, 6)
    with torch.no_grad():
        before = model(ids).logits
        model.model.layers[1].mlp.shared_experts.down_proj.weight.zero_()
        assert (model(ids).logits - before).abs().max() > 1e-3


def load_after(steps: int, *, coefficient: float = 0.0, bias_rate: float = 0.0) -> float:
    """Share of the busiest expert after training a router that begins lopsided."""
    torch.manual_seed(0)
    live = router(router_bias=True)
    with torch.no_grad():
        live.weight[0] += 0.1
    x = torch.randn(400, 32) + 0.5
    optimizer = torch.optim.SGD(live.parameters(), lr=1.0)
    for _ in range(steps):
        choice = live(x)
        counts = torch.bincount(choice.experts.flatten(), minlength=6)[None]
        optimizer.zero_grad()
        (coefficient * balance_loss(counts, choice.probability.mean(0)[None])).backward()
        optimizer.step()
        if bias_rate:
            update_router_bias(torch.nn.ModuleDict({"router": live}), counts, rate=bias_rate)
    chosen = torch.bincount(live(x).experts.flatten(), minlength=6)
    return (chosen.max() / chosen.sum()).item()


def test_the_loss_and_the_bias_both_even_out_a_lopsided_router() -> None:
    lopsided = load_after(0)
    assert lopsided > 0.33
    assert load_after(60, coefficient=1.0) < 0.22
    assert load_after(60, bias_rate=0.01) < 0.22
