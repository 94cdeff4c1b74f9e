"""The balancing loss against hand-worked numbers, and what it pushes towards."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from munro.base_model.model.balance import (
    GlobalLoad,
    balance_loss,
    update_router_bias,
    violation_rate,
)


def test_the_loss_is_one_when_experts_are_chosen_and_likely_evenly() -> None:
    assert balance_loss(torch.full((3, 4), 5), torch.full((3, 4), 0.25)).item() == 1


def test_the_loss_is_the_mean_over_layers_of_experts_times_share_times_probability() -> None:
    counts = torch.tensor([[3, 1], [0, 8]])
    probability = torch.tensor([[0.75, 0.25], [0.5, 0.5]])

    # 2 * (3/4 * 3/4 + 1/4 * 1/4) = 1.25 and 2 * (0 + 1/2) = 1
    assert balance_loss(counts, probability).item() == pytest.approx(1.125)


def test_the_gradient_lowers_the_probability_of_the_expert_chosen_most() -> None:
    logits = torch.zeros(1, 3, requires_grad=True)

    balance_loss(torch.tensor([[6, 2, 1]]), logits.softmax(-1)).backward()

    assert logits.grad is not None
    assert logits.grad[0, 0] > 0
    assert (logits.grad[0, 1:] < 0).all()


def test_the_load_of_a_step_grows_over_its_micro_batches_and_starts_anew_in_the_next() -> None:
    load = GlobalLoad()

    assert load.add(torch.tensor([[1, 0]])).tolist() == [[1, 0]]
    assert load.add(torch.tensor([[2, 5]])).tolist() == [[3, 5]]
    load.reset()
    assert load.add(torch.tensor([[0, 1]])).tolist() == [[0, 1]]


def test_an_idle_expert_violates_by_minus_one_and_one_with_twice_the_mean_by_one() -> None:
    assert violation_rate(torch.tensor([[0, 2, 4]])).tolist() == [[-1, 0, 1]]


class Routed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.router = nn.Module()
        self.router.register_buffer("bias", torch.zeros(3))


def test_the_bias_falls_for_experts_above_the_mean_load_and_rises_for_those_below() -> None:
    model = Routed()

    update_router_bias(model, torch.tensor([[0, 2, 4]]), rate=0.1)

    assert model.router.bias.tolist() == pytest.approx([0.1, 0, -0.1])


def test_a_model_without_router_biases_is_refused() -> None:
    with pytest.raises(ValueError, match="0 routers with a bias"):
        update_router_bias(nn.Linear(2, 2), torch.ones(1, 3), rate=0.1)
