"""Distillations that train an adapter on the base, and ones onto a base that is an adapter."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from munro.base_model.adapters import attach
from munro.base_model.adapters.config import LoraConfig
from munro.base_model.checkpoint import Checkpoint
from munro.distill.distil import CannotDistill, distil
from tests.distill.runs import make_base, make_run, quick, source

LORA = {"lora": {"rank": 4, "alpha": 8}, "optimizer": {"learning_rate": 1e-3}}


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return make_base(tmp_path_factory.mktemp("base") / "base").path


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "sums", steps=8)


class Killed(Exception):
    pass


def weights(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    return checkpoint.model(dtype=torch.float32).state_dict()


def an_adapter(base: Path, out: Path) -> Checkpoint:
    """One that does something."""
    model = Checkpoint(base).model(dtype=torch.float32)
    attach.attach(model, LoraConfig(rank=4), base=str(base), seed=0)
    own = attach.weights_of(model)
    with torch.no_grad():
        for weight in own.values():
            weight += 0.05
    return Checkpoint.write(
        out, model=model, tokenizer=Checkpoint(base).tokenizer(), state_dict=own
    )


@pytest.mark.parametrize("checkpointing", [False, True])
def test_an_adapter_is_trained_killed_and_taken_up_again(tmp_path, base, run, checkpointing):
    how = quick(training=LORA | {"activation_checkpointing": checkpointing})
    straight = distil([source(run)], base, tmp_path / "straight", how)
    assert straight.is_adapter
    assert straight.base() == base

    def kill(metrics) -> None:
        if metrics.step == 5:
            raise Killed

    with pytest.raises(Killed):
        distil([source(run)], base, tmp_path / "killed", how, on_progress=kill)
    steps: list[int] = []
    resumed = distil(
        [source(run)],
        base,
        tmp_path / "killed",
        how,
        on_progress=lambda metrics: steps.append(metrics.step),
    )
    assert steps[0] == 5
    before, ours, theirs = (weights(one) for one in (Checkpoint(base), straight, resumed))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    moved = {name for name in ours if not torch.equal(ours[name], before[name])}
    assert moved
    assert not any("norm" in name or "embed" in name for name in moved)


def test_onto_an_adapter_all_weights_of_what_it_makes_are_trained(tmp_path, base, run):
    onto = an_adapter(base, tmp_path / "adapter")
    made = distil([source(run)], onto.path, tmp_path / "out", quick())
    assert not made.is_adapter
    assert weights(made).keys() == weights(Checkpoint(base)).keys()


def test_an_adapter_on_an_adapter_is_refused(tmp_path, base, run):
    onto = an_adapter(base, tmp_path / "adapter")
    with pytest.raises(CannotDistill, match=r"is an adapter itself.*munro merge"):
        distil([source(run)], onto.path, tmp_path / "out", quick(training=LORA))
