"""Every parameter decays once, at the rate of its kind."""

from __future__ import annotations

import pytest
import torch

from munro.base_model.config import ModelConfig, OptimizerConfig
from munro.base_model.small.quickstart import new_model
from munro.base_model.training.optim import adamw, parameter_groups, set_learning_rate
from tests.base_model.builders import small_tokenizer
from tests.base_model.tiny_munro import tiny_model
from tests.rounding import assert_near

SHAPE = {
    "architecture": "llama",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_layers": 2,
    "num_heads": 1,
}


@pytest.mark.parametrize("tied", [True, False])
def test_every_parameter_is_in_exactly_one_group(tied: bool):
    model = new_model(ModelConfig(**SHAPE, tie_embeddings=tied), small_tokenizer())
    groups = parameter_groups(model, OptimizerConfig())
    grouped = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(grouped) == sorted(id(parameter) for parameter in model.parameters())


@pytest.mark.parametrize("tied", [True, False])
def test_groups_carry_the_reports_weight_decays(tied: bool):
    model = new_model(ModelConfig(**SHAPE, tie_embeddings=tied), small_tokenizer())
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = {group["name"]: group for group in parameter_groups(model, OptimizerConfig())}
    decays = {name: group["weight_decay"] for name, group in groups.items()}
    assert decays == {"other": 0.1, "attention": 0.01, "embedding": 0.005, "norm": 0.0}

    members = {name: [names[id(p)] for p in group["params"]] for name, group in groups.items()}
    assert len(members["embedding"]) == (1 if tied else 2)
    assert len(members["attention"]) == 2 * 4
    assert all("self_attn" in name for name in members["attention"])
    assert all(".mlp." in name for name in members["other"])
    assert all("norm" in name for name in members["norm"])


def test_frozen_parameters_are_left_out():
    model = new_model(ModelConfig(**SHAPE), small_tokenizer())
    model.model.embed_tokens.weight.requires_grad_(False)
    groups = parameter_groups(model, OptimizerConfig())
    grouped = {id(parameter) for group in groups for parameter in group["params"]}
    assert id(model.model.embed_tokens.weight) not in grouped


def test_a_step_without_gradient_shrinks_each_kind_by_rate_times_decay():
    model = new_model(ModelConfig(**SHAPE), small_tokenizer())
    optimizer = adamw(model, OptimizerConfig())
    set_learning_rate(optimizer, 0.5)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    kept = {"mlp.up_proj.weight": 0.95, "q_proj.weight": 0.995, "embed_tokens.weight": 0.9975}
    for name, parameter in model.named_parameters():
        factor = next((share for end, share in kept.items() if name.endswith(end)), None)
        if factor is not None:
            assert_near(parameter, before[name] * factor, 3)
        if "norm" in name:
            assert torch.equal(parameter.detach(), before[name])


def test_a_mixture_has_a_group_of_routers_and_its_experts_decay_like_the_rest():
    model = tiny_model()
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = {g["name"]: g for g in parameter_groups(model, OptimizerConfig(router_weight_decay=0))}
    assert groups["router"]["weight_decay"] == 0
    members = {kind: [names[id(p)] for p in group["params"]] for kind, group in groups.items()}
    assert [name.rpartition("mlp.")[2] for name in members["router"]] == ["router.weight"] * 3
    assert sum("experts" in name for name in members["other"]) == 3 * 2
    assert members["embedding"] == ["model.embed_tokens.weight"]
    assert all("self_attn" in name and "norm" not in name for name in members["attention"])
    assert all(name.endswith("norm.weight") for name in members["norm"])
    assert sum(map(len, members.values())) == len(names)
