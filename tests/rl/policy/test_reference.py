"""The distance to the model that a climb began from: by hand, and through the learner."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from munro.base_model.adapters.config import LoraConfig
from munro.rl.batch import build_batch
from munro.rl.clip import Clip
from munro.rl.config import LearnerConfig
from munro.rl.learner import Learner
from munro.rl.policy import reference
from munro.rl.policy.reference import kl_to
from tests.rl.builders import random_group, save_model

CONFIG = LearnerConfig(learning_rate=3e-3, threads=1, token_budget=64)


@pytest.fixture
def folder(tmp_path):
    return save_model(tmp_path / "model")


def batch():
    rng = np.random.default_rng(0)
    return build_batch([random_group(rng, index=index, turns=2, forks=2) for index in range(3)])


def test_k3_by_hand_and_its_gradient():
    # p_ref / p = 2, 1 and 1/4
    logp = torch.tensor([-1.0, -1.0, -1.0], dtype=torch.float64, requires_grad=True)
    behind = torch.tensor([math.log(2), 0.0, -math.log(4)], dtype=torch.float64)
    found = kl_to(logp.detach() + behind, logp)
    assert found.tolist() == pytest.approx([1 - math.log(2), 0.0, math.log(4) - 0.75])
    found.sum().backward()
    # 1 - p_ref / p: what the reference would say more often is raised
    assert logp.grad.tolist() == pytest.approx([-1.0, 0.0, 0.75])


def test_averaged_over_the_policy_it_is_the_kl_divergence():
    generator = torch.Generator().manual_seed(0)
    ours, theirs = torch.randn(2, 50, generator=generator, dtype=torch.float64).log_softmax(-1)
    exact = (ours.exp() * (ours - theirs)).sum()
    assert float((ours.exp() * kl_to(theirs, ours)).sum()) == pytest.approx(float(exact))


def test_without_a_weight_no_reference_is_loaded_and_nothing_changes(folder, monkeypatch):
    loaded = []
    load = reference.spread_policy
    monkeypatch.setattr(
        reference, "spread_policy", lambda *args, **more: loaded.append(1) or load(*args, **more)
    )
    plain = Learner(folder, CONFIG, seed=0)
    assert loaded == []
    assert "policy/reference_kl" not in plain.step(batch(), clip=Clip()).metrics
    Learner(folder, CONFIG.model_copy(update={"kl_weight": 0.1}), seed=0)
    assert loaded == [1]


def kls(folder: str, weight: float, steps: int) -> list[float]:
    learner = Learner(folder, CONFIG.model_copy(update={"kl_weight": weight}), seed=0)
    return [learner.step(batch(), clip=Clip()).metrics["policy/reference_kl"] for _ in range(steps)]


def test_the_first_step_is_at_no_distance_and_a_weight_holds_the_policy_near(folder):
    free, held = kls(folder, 1e-9, 12), kls(folder, 3.0, 12)
    # where nothing moved yet distance and gradient are zero; both take the same first step
    assert free[0] == held[0] == 0.0
    assert held[1] == pytest.approx(free[1], rel=1e-4)
    assert free[-1] > 0.01
    assert held[-1] < 0.5 * free[-1]


def test_the_loss_is_the_plain_one_and_the_weighted_mean_over_tokens(folder):
    plain, held = (
        Learner(folder, CONFIG.model_copy(update={"kl_weight": weight}), seed=0)
        for weight in (0.0, 0.5)
    )
    for learner in (plain, held):
        with torch.no_grad():
            for number, parameter in enumerate(learner._policy.parameters()):
                torch.manual_seed(number)
                parameter += 0.02 * torch.randn_like(parameter)
    without, withit = (one.step(batch(), clip=Clip()).metrics for one in (plain, held))
    added = withit["learner/loss"] - without["learner/loss"]
    assert withit["policy/reference_kl"] > 1e-3
    assert added == pytest.approx(0.5 * withit["policy/reference_kl"], rel=1e-3)


def test_a_resumed_learner_measures_from_where_the_climb_began(folder, tmp_path):
    config = CONFIG.model_copy(update={"kl_weight": 0.1})
    first = Learner(folder, config, seed=0)
    for _ in range(3):
        first.step(batch(), clip=Clip())
    first.save(tmp_path / "saved", {})
    second = Learner(folder, config, seed=0)
    second.load(tmp_path / "saved")
    going_on, resumed = (one.step(batch(), clip=Clip()).metrics for one in (first, second))
    assert resumed["policy/reference_kl"] == going_on["policy/reference_kl"] > 0


def test_under_an_adapter_it_is_the_base_without_it_and_no_second_model(folder, monkeypatch):
    """The same figures as with a model of its own, step after step."""
    config = CONFIG.model_copy(update={"kl_weight": 0.1, "lora": LoraConfig(rank=4)})
    alone = Learner(folder, config, seed=0)
    assert isinstance(alone._passes.reference, reference.LeftOut)
    monkeypatch.setattr(reference, "is_adapter", lambda _: True)
    apart = Learner(folder, config, seed=0)
    assert isinstance(apart._passes.reference, reference.Frozen)
    for step in range(4):
        one, other = (learner.step(batch(), clip=Clip()).metrics for learner in (alone, apart))
        assert one == other
        assert (one["policy/reference_kl"] > 0) is (step > 0)


def test_a_climb_from_an_adapter_measures_from_that(folder, tmp_path):
    lora = CONFIG.model_copy(update={"lora": LoraConfig(rank=4)})
    first = Learner(folder, lora, seed=0)
    first.step(batch(), clip=Clip())
    first.save(tmp_path / "adapter", {})
    onward = Learner(tmp_path / "adapter", lora.model_copy(update={"kl_weight": 0.1}), seed=0)
    assert onward.step(batch(), clip=Clip()).metrics["policy/reference_kl"] == 0.0
    assert onward.step(batch(), clip=Clip()).metrics["policy/reference_kl"] > 0.0
