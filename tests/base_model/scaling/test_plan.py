"""What a ladder will train follows from its file; what cannot be trained is refused at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from munro.base_model.scaling.config import LadderConfig
from munro.base_model.scaling.plan import plans, short, table
from munro.machine.loading import load_as
from tests.base_model.tiny_ladder import ladder_config

ROOT = Path(__file__).parents[3]


def test_every_rung_has_the_same_tokens_for_each_active_parameter():
    config = ladder_config(tokens_per_param=50)
    for plan in plans(config):
        batch = config.training.batch_rows * config.training.row_tokens
        wanted = 50 * plan.shape.num_params(active=True)
        assert wanted <= plan.num_tokens < wanted + batch


def test_a_candidate_changes_what_it_says_and_nothing_else():
    first = {plan.name: plan for plan in plans(ladder_config())[:3]}
    base, doubled = first["baseline"], first["doubled"]
    assert doubled.shape.num_experts == 2 * base.shape.num_experts
    assert doubled.shape.hidden_size == base.shape.hidden_size
    assert doubled.training.optimizer == base.training.optimizer
    assert first["slow"].training.optimizer.learning_rate == pytest.approx(
        base.training.optimizer.learning_rate / 2
    )
    assert first["slow"].training.optimizer.betas == (0.8, 0.9)
    assert first["slow"].weights == {"one": 1.0}


def test_the_rate_follows_the_width_and_the_warm_up_the_length():
    config = ladder_config(learning_rate={"peak": 0.01, "at_width": 16, "power": 1.0}, warmup=0.25)
    for plan in plans(config):
        if plan.name == "baseline":
            rate = plan.training.optimizer.learning_rate
            assert rate == pytest.approx(0.01 * 16 / plan.shape.hidden_size)
            steps = plan.training.num_steps
            assert plan.training.schedule.warmup_steps == round(0.25 * steps)


def test_another_seed_is_another_training_and_another_number_of_threads_is_not():
    config = ladder_config(seeds=[0, 1])
    keys = {plan.key("text") for plan in plans(config)}
    assert len(keys) == len(plans(config)) == 18
    threaded = ladder_config(seeds=[0, 1], training={"threads": 2})
    assert {plan.key("text") for plan in plans(threaded)} == keys
    assert plans(config)[0].key("other text") not in keys


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"rungs": [6, 12]}, "2 cannot show A, alpha and the floor E"),
        ({"rungs": [6, 6, 12]}, "L6, L6, L12 do not differ"),
        ({"candidates": {"few": {"shape": {"num_experts": 1}}}}, "fewer than top_k"),
        ({"candidates": {"odd": {"shape": {"moe_evry": 1}}}}, "moe_evry is no size of a model"),
        ({"candidates": {"data": {"weights": {"poems": 1}}}}, "names 'poems', which is no source"),
        ({"candidates": {"data": {"weights": {"one": 0}}}}, "nor all be 0"),
        ({"candidates": {"baseline": {}}}, "is the baseline's own name"),
        ({"rungs": [5, 12, 18]}, "num_layers = 5 is not a multiple"),
    ],
    ids=lambda value: "",
)
def test_a_ladder_that_cannot_be_trained_is_refused_in_a_sentence(
    changes: dict[str, Any], sentence: str
):
    with pytest.raises(ValidationError, match=sentence):
        ladder_config(**changes)


@pytest.mark.parametrize("name", ["ladder", "ladder_tiny"])
def test_the_recipes_load_and_can_be_planned(name):
    config = load_as(LadderConfig, str(ROOT / "configs" / f"{name}.toml"))
    assert len(plans(config)) == len(config.rungs) * (1 + len(config.candidates))
    assert f"{len(plans(config))} trainings" in table(plans(config))


def test_the_reports_ladder_has_the_reports_sizes():
    config = load_as(LadderConfig, str(ROOT / "configs" / "ladder.toml"))
    sizes = [
        plan.shape.num_params(active=True) for plan in plans(config) if plan.name == "baseline"
    ]
    assert [round(size / 1e9, 1) for size in sizes] == [0.4, 0.8, 1.5, 2.6, 4.0, 6.1]


def test_numbers_are_shortened_to_three_digits():
    assert [short(n) for n in (999, 999.7, 1_234, 45_678_901, 999_900_000, 6.1e9, 3e13)] == [
        "999",
        "1k",
        "1.23k",
        "45.7M",
        "1B",
        "6.1B",
        "30T",
    ]
