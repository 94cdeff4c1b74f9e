"""The optimizers beside AdamW, and moments that are put away between steps."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from munro.rl.batch import build_batch
from munro.rl.clip import Clip
from munro.rl.config import LearnerConfig
from munro.rl.learner import Learner
from munro.rl.policy import optimizers
from munro.rl.policy.optimizers import NoOptimizer, Offloaded, check_optimizer, make_optimizer
from tests.rl.builders import make_model, random_group, save_model

CLIP = Clip(eps=0.6)
KNOWN = [
    "adamw",
    "muon",
    pytest.param(
        "adamw8bit",
        marks=pytest.mark.skipif(
            importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is an extra"
        ),
    ),
]


@pytest.fixture
def folder(tmp_path: Path) -> str:
    # wide enough for 8 bits, which bitsandbytes takes from 4,096 numbers on
    return save_model(tmp_path / "model", make_model(hidden_size=64, intermediate_size=96))


def config_of(optimizer: str = "adamw", **more) -> LearnerConfig:
    given = {"learning_rate": 1e-2, "eps": 1e-8, "token_budget": 256, "optimizer": optimizer}
    return LearnerConfig.model_validate(given | more)


def learner_of(folder: str, config: LearnerConfig) -> Learner:
    return Learner(folder, config, seed=0, temperature=0.8)


def batches(num: int):
    rng = np.random.default_rng(0)
    return [build_batch([random_group(rng, index=i) for i in range(3)]) for _ in range(num)]


def weights(learner: Learner) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in learner._policy.model.named_parameters()}


def assert_same(ours, theirs) -> None:
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name


@pytest.mark.parametrize("kind", KNOWN)
@pytest.mark.parametrize("offload", [False, True], ids=["here", "offloaded"])
def test_saved_loaded_and_stepped_is_bitwise_uninterrupted(folder, tmp_path, kind, offload):
    config, given = config_of(kind, offload=offload), batches(4)
    learner = learner_of(folder, config)
    for batch in given[:2]:
        learner.step(batch, clip=CLIP)
    learner.save(tmp_path / "saved", {})
    resumed = learner_of(folder, config)
    resumed.load(tmp_path / "saved")
    for batch in given[2:]:
        assert learner.step(batch, clip=CLIP) == resumed.step(batch, clip=CLIP)
    assert_same(weights(learner), weights(resumed))


@pytest.mark.parametrize("kind", KNOWN)
def test_offloading_changes_no_bit(folder, kind, monkeypatch):
    monkeypatch.setattr(optimizers, "BUCKET", 5000)
    here = learner_of(folder, config_of(kind))
    away = learner_of(folder, config_of(kind, offload=True))
    assert len(away._optimizer.parts) > 5
    for batch in batches(3):
        here.step(batch, clip=CLIP)
        away.step(batch, clip=CLIP)
    assert_same(weights(here), weights(away))


@pytest.mark.parametrize("kind", KNOWN)
def test_between_steps_all_moments_lie_where_they_were_put(folder, kind, monkeypatch):
    monkeypatch.setattr(optimizers, "BUCKET", 5000)
    config = config_of(kind, offload=True)
    learner = learner_of(folder, config)
    # shared memory stands for the host's: on a CPU there is no other
    shelf = make_optimizer(
        learner._policy,
        config,
        away=lambda moment, _: moment.clone().share_memory_(),
        back=lambda moment, _: moment.clone(),
    )
    for parameter in learner._policy.parameters():
        parameter.grad = torch.ones_like(parameter)
    during: list[int] = []
    for part in shelf.parts:
        part.register_step_post_hook(lambda *_: during.append(shared(shelf)))
    shelf.step()
    num = len(moments(shelf))
    assert shared(shelf) == num >= len(list(learner._policy.parameters()))
    during.clear()
    shelf.step()
    # while a part is stepped its own are here, and all others are away
    assert all(0 < num - away < num / 2 for away in during)


def moments(optimizer: Offloaded) -> list[torch.Tensor]:
    return [
        value
        for state in optimizer.state.values()
        for value in state.values()
        if isinstance(value, torch.Tensor) and value.dim()
    ]


def shared(optimizer: Offloaded) -> int:
    return sum(moment.is_shared() for moment in moments(optimizer))


def test_muon_moves_hidden_matrices_and_adamw_the_rest(folder):
    learner, plain = learner_of(folder, config_of("muon")), learner_of(folder, config_of())
    (batch,) = batches(1)
    before = weights(learner)
    learner.step(batch, clip=CLIP)
    plain.step(batch, clip=CLIP)
    ours, theirs = weights(learner), weights(plain)
    hidden = {name for name in ours if "proj" in name}
    assert 0 < len(hidden) < len(ours)
    for name in ours:
        assert torch.equal(ours[name], theirs[name]) is (name not in hidden), name
    for name in hidden:
        # the gradient's directions are all moved as far (it has more of them than these), which
        # AdamW does not do; and about as far as AdamW moves
        moved, adamw_moved = (after[name] - before[name] for after in (ours, theirs))
        sizes, usual = torch.linalg.svdvals(moved), torch.linalg.svdvals(adamw_moved)
        assert sizes[0] < 1.7 * sizes[8], name
        assert sizes[0] / sizes[8] < 0.75 * usual[0] / usual[8], name
        assert 0.05 * 1e-2 < moved.square().mean().sqrt() < 1e-2, name


def test_a_rate_that_is_set_on_the_whole_is_every_part_s(folder):
    learner = learner_of(folder, config_of("muon"))
    before = weights(learner)
    for group in learner._optimizer.param_groups:
        group["lr"] = 0.0
    learner.step(batches(1)[0], clip=CLIP)
    assert_same(weights(learner), before)


def test_moments_of_another_optimizer_are_refused(folder, tmp_path):
    learner = learner_of(folder, config_of())
    learner.step(batches(1)[0], clip=CLIP)
    learner.save(tmp_path / "saved", {})
    other = learner_of(folder, config_of("muon"))
    with pytest.raises(NoOptimizer, match=r"saved with another learner\.optimizer: of model\."):
        other.load(tmp_path / "saved")


def test_what_is_not_installed_is_told_before_anything_is_loaded(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(NoOptimizer, match="needs bitsandbytes, which is not installed: pip"):
        check_optimizer(config_of("adamw8bit"))
    check_optimizer(config_of("muon"))


def test_matrices_in_parts_are_refused():
    with pytest.raises(NoOptimizer, match=r'"muon" knows whole matrices only, and learner\.ranks'):
        check_optimizer(config_of("muon", ranks=2))
    check_optimizer(config_of("adamw", ranks=2))


@pytest.mark.gpu
def test_on_a_gpu_the_moments_leave_it_and_change_no_bit(folder):
    here = learner_of(folder, config_of())
    away = learner_of(folder, config_of(offload=True))
    for batch in batches(3):
        here.step(batch, clip=CLIP)
        away.step(batch, clip=CLIP)
    assert_same(weights(here), weights(away))
    assert {moment.device.type for moment in moments(here._optimizer)} == {"cuda"}
    assert {moment.device.type for moment in moments(away._optimizer)} == {"cpu"}
    assert all(moment.is_pinned() for moment in moments(away._optimizer))
