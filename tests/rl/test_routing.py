"""The learner on a mixture of experts: the engine's choice is repeated, the balance is counted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from munro.base_model.training.sharding import Alone
from munro.rl.batch import Batch, build_batch
from munro.rl.clip import Clip
from munro.rl.config import LearnerConfig
from munro.rl.learner import Learner
from munro.rl.policy.device import on_device
from munro.rl.policy.model import Policy, UnsupportedModel
from munro.rl.policy.packing import Layout
from munro.rl.saving import published
from munro.rollout.types import Group
from tests.base_model.tiny_munro import tiny_model
from tests.rl.builders import VOCAB, random_group, save_model
from tests.rounding import assert_near, depth, near

CONFIG = LearnerConfig(learning_rate=1e-3, eps=1e-8, threads=1, token_budget=64)
LAYERS, EXPERTS, TOP_K = 3, 6, 2


def model(**others: Any) -> Any:
    return tiny_model(sizes={"vocab_size": VOCAB}, max_position_embeddings=256, **others)


TERMS = depth(model(), 64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_model(tmp_path_factory.mktemp("mixture"), model())


def with_routes(group: Group, seed: int | None) -> Group:
    """The group with experts for every token read: random ones, or the model's own."""
    attempts = []
    for attempt in group.attempts:
        told = attempt.trajectory
        ids = told.token_ids
        if seed is None:
            with torch.no_grad():
                free = model()(torch.from_numpy(ids)[None].long())
            routes = free.routing.experts[0].numpy()
        else:
            # what two attempts share they were computed with once
            routes = np.array([choice([seed, *ids[: i + 1]]) for i in range(len(ids))])
        routes = routes.astype(np.int16)
        routes[-1] = -1
        attempts.append(replace(attempt, trajectory=replace(told, routed_experts=routes)))
    return replace(group, attempts=tuple(attempts))


def choice(seed: list[int]) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.permutation(EXPERTS)[:TOP_K] for _ in range(LAYERS)]


def batch(seed: int | None) -> Batch:
    return build_batch([with_routes(random_group(np.random.default_rng(3)), seed)])


def logp(batch: Batch, *, replay: bool, layout: Layout = Layout.PADDED) -> np.ndarray:
    policy = Policy(model(), tile=16)
    found = []
    for micro in batch.micro_batches(512, layout=layout):
        with torch.no_grad():
            there = on_device(micro, torch.device("cpu"), vocabulary=policy.vocabulary)
            logp_T, _ = policy(there, temperature=1.0, replay=replay)
        found.append(logp_T.numpy())
    return np.sort(np.concatenate(found))


def test_repeating_the_model_s_own_choice_changes_no_log_prob_and_another_choice_does() -> None:
    free = logp(batch(None), replay=False)
    assert_near(logp(batch(None), replay=True), free, TERMS)
    assert np.abs(logp(batch(5), replay=True) - free).max() > 0.1


def test_a_shared_prompt_repeats_its_experts_too() -> None:
    routed = batch(5)
    shared = logp(routed, replay=True, layout=Layout.SHARED)
    assert_near(shared, logp(routed, replay=True), TERMS)


def test_prompts_are_shared_through_windows_that_go_by_positions() -> None:
    policy = Policy(model(), tile=16)
    assert policy.shares_prompts()


@pytest.mark.parametrize("replay", ["auto", "require", "off"])
def test_replay_is_on_where_both_sides_can_and_off_on_demand(folder: str, replay: str) -> None:
    config = CONFIG.model_copy(update={"replay_routing": replay, "share_prompts": False})
    learner = Learner(folder, config, seed=0)
    reported = learner.step(batch(5), clip=Clip())
    other = Learner(folder, config, seed=0).step(batch(None), clip=Clip())

    is_same = reported.metrics["learner/loss"] == near(other.metrics["learner/loss"], TERMS)
    assert is_same is (replay == "off")


def test_replay_that_is_required_needs_a_model_that_takes_it(tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"replay_routing": "require"})
    learner = Learner(save_model(tmp_path), config, seed=0)
    with pytest.raises(UnsupportedModel, match="LlamaForCausalLM takes no routed_experts"):
        learner.step(batch(5), clip=Clip())


def test_the_balance_of_a_step_counts_tokens_that_are_there_and_moves_routers(folder: str) -> None:
    weights = {}
    for balance in (0.0, 10.0):
        config = CONFIG.model_copy(update={"balance": balance})
        learner = Learner(folder, config, seed=0)
        reported = learner.step(batch(None), clip=Clip())
        weights[balance] = learner._policy.model.model.layers[1].mlp.router.weight.detach()
        assert ("learner/balance_loss" in reported.metrics) is (balance > 0)
    assert reported.metrics["learner/balance_loss"] >= 0.9
    assert reported.metrics["learner/expert_violation/max"] >= 0
    assert not torch.equal(weights[0.0], weights[10.0])


def test_micro_batches_share_in_the_balance_of_the_step(folder: str) -> None:
    found = []
    for budget in (64, 4096):
        config = CONFIG.model_copy(update={"balance": 1.0, "token_budget": budget})
        reported = Learner(folder, config, seed=0).step(batch(None), clip=Clip())
        found.append(reported.metrics["learner/balance_loss"])
    # early micro-batches know less of the load than late ones
    assert found[0] == pytest.approx(found[1], rel=0.3)


def test_selection_biases_are_published_with_the_weights(tmp_path: Path) -> None:
    made = model(router_bias=True)
    made.model.layers[1].mlp.router.bias.normal_()
    learner = Learner(save_model(tmp_path, made), CONFIG, seed=0)

    told = dict(published(learner._policy.model, Alone()))

    name = "model.layers.1.mlp.router.bias"
    assert torch.equal(told[name], made.get_buffer(name))
    assert "lm_head.weight" not in told
