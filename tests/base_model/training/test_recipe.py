"""A recipe's phases inherit, agree with the report, and say in a sentence what cannot be."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from munro.base_model.training.recipe import PretrainRecipe

CONFIGS = Path(__file__).parents[3] / "configs"

TINY: dict[str, Any] = {
    "name": "tiny",
    "model": {
        "num_layers": 6,
        "shape": {"hidden_size": 32, "num_heads": 2, "num_kv_heads": 1, "head_dim": 16}
        | {"window": 16, "num_experts": 4, "top_k": 2},
    },
    "data": {
        "sources": [
            {"path": "worked:arithmetic", "name": "sums", "category": "math", "weight": 3.0},
            {"path": "python:documentation", "name": "prose", "category": "general"},
        ]
    },
    "phase": {
        "first": {
            "tokens": 4096,
            "context": 32,
            "batch_tokens": 256,
            "optimizer": {"learning_rate": 2e-3, "max_grad_norm": 0.5},
            "schedule": {"warmup_steps": 4, "final": 0.1},
            "mixture": {"sums": 1.0, "prose": 1.0},
        },
        "second": {
            "context": 64,
            "optimizer": {"learning_rate": 2e-4},
            "schedule": {"warmup_steps": 0},
            "mixture": {"prose": 1.0},
        },
    },
}


def changed(**phase: Any) -> dict[str, Any]:
    return {**TINY, "phase": {**TINY["phase"], "first": {**TINY["phase"]["first"], **phase}}}


def test_a_phase_inherits_what_it_does_not_say():
    first, second = PretrainRecipe.model_validate(TINY).phase.values()
    assert (second.tokens, second.batch_tokens) == (4096, 256)
    assert (first.context, second.context) == (32, 64)
    assert second.optimizer.learning_rate == 2e-4
    assert second.optimizer.max_grad_norm == 0.5
    assert (second.schedule.warmup_steps, second.schedule.final) == (0, 0.1)


def test_mixtures_are_replaced_and_fall_back_to_the_sources_own_weights():
    recipe = PretrainRecipe.model_validate(TINY)
    assert recipe.weights_of("second") == {"prose": 1.0}
    bare = PretrainRecipe.model_validate(changed(mixture={}))
    assert bare.weights_of("first") == {"sums": 3.0, "prose": 1.0}


def test_the_trainer_is_told_rows_and_steps():
    recipe = PretrainRecipe.model_validate(changed(balance=0.01, checkpoint_every=7))
    told = recipe.phase["second"].training(seed=5)
    assert (told.num_steps, told.batch_rows, told.row_tokens) == (16, 4, 64)
    assert (told.balance, told.checkpoint_every, told.seed) == (0.01, 7, 5)
    assert recipe.seed_of("first") != recipe.seed_of("second")


@pytest.mark.parametrize(
    ("phase", "why"),
    [
        ({"batch_tokens": 100}, "batch_tokens = 100 is not a multiple of context = 32: take 96"),
        ({"parallelism": {"ranks": 3}}, "8 rows of 32 tokens, which do not divide among"),
        ({"parallelism": {"micro_rows": 3}}, "in micro-batches of parallelism.micro_rows = 3"),
        ({"mixture": {"poems": 1.0}}, "phase.first.mixture names 'poems', which is no source"),
        ({"mixture": {"sums": 0.0}}, "no weight may be negative, nor all be 0"),
    ],
)
def test_a_phase_that_cannot_be_says_why(phase, why):
    with pytest.raises(ValidationError, match=why):
        PretrainRecipe.model_validate(changed(**phase))


def test_a_shape_that_makes_no_model_says_why():
    with pytest.raises(ValidationError, match="num_layers = 7 is not a multiple of 6"):
        PretrainRecipe.model_validate({**TINY, "model": {"num_layers": 7}})


def bundled(name: str) -> PretrainRecipe:
    return PretrainRecipe.model_validate(tomllib.loads((CONFIGS / name).read_text()))


def test_the_tiny_recipe_loads():
    assert list(bundled("pretrain_tiny.toml").phase) == ["pretrain", "mid1", "mid2"]


def test_the_big_recipe_is_the_reports():
    recipe = bundled("pretrain.toml")
    shape = recipe.model.sized(vocab_size=200_019)
    assert round(shape.num_params() / 1e9) == 962
    assert round(shape.num_params(active=True) / 1e9, 1) == 34.7
    pretrain, mid1, mid2 = recipe.phase.values()
    assert [round(phase.num_steps, -2) for phase in (pretrain, mid1, mid2)] == [223500, 25300, 1100]
    assert {phase.batch_tokens for phase in recipe.phase.values()} == {134_217_728}
    assert [phase.context for phase in recipe.phase.values()] == [16_384, 65_536, 262_144]
    rates = [
        (phase.optimizer.learning_rate, phase.optimizer.learning_rate * phase.schedule.final)
        for phase in (pretrain, mid1)
    ]
    assert rates == [(2e-4, pytest.approx(2e-5)), (2e-5, pytest.approx(1e-5))]
    assert (mid2.optimizer.learning_rate, mid2.schedule.shape) == (1e-6, "constant")
    assert [phase.schedule.warmup_steps for phase in recipe.phase.values()] == [89, 0, 0]
    optimizer = mid2.optimizer
    assert (optimizer.betas, optimizer.max_grad_norm) == ((0.95, 0.925), 1.0)
    decays = (
        optimizer.weight_decay,
        optimizer.attention_weight_decay,
        optimizer.embedding_weight_decay,
    )
    assert decays == (0.1, 0.01, 0.005)


def test_the_big_recipe_reads_the_reports_mixtures():
    recipe = bundled("pretrain.toml")
    pretrain, mid1, mid2 = (recipe.weights_of(name) for name in recipe.phase)
    assert pretrain == {
        "code": 54.6, "stem": 15.8, "math": 5.4, "books": 3.1, "pdf": 4.7, "web": 14.9,
        "multilingual": 1.6,
    }  # fmt: skip
    assert mid1 == mid2
    assert (mid1["code"], mid1["stem"] + mid1["math"]) == (55.0, pytest.approx(35.0))
    assert sum(mid1.values()) == pytest.approx(100.0)
