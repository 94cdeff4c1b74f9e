"""What a climb that trains adapters starts its processes with, and what a dry run says of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from munro.base_model.adapters import attach
from munro.base_model.adapters.config import LoraConfig
from munro.base_model.adapters.errors import BadAdapter
from munro.base_model.checkpoint import Checkpoint, CheckpointError
from munro.machine.climb.adapters import (
    described,
    served_model,
    told,
    transfer,
    with_whole_judges,
)
from munro.machine.climb.sizes import model_of
from munro.machine.config import RunConfig
from munro.machine.loading import BadConfig, from_overrides
from munro.rewards.serving.server import check_checkpoint
from munro.rollout.adapters import SharedMemoryAdapters
from tests.rl.builders import save_model
from tests.rollout.tiny_adapters import move


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return Path(save_model(tmp_path / "base"))


@pytest.fixture
def adapter(base: Path, tmp_path: Path) -> Path:
    model = Checkpoint(base).model(dtype=torch.float32)
    attach.attach(model, LoraConfig(rank=4), base=str(base), seed=0)
    move(model, seed=1)
    tokenizer, own = Checkpoint(base).tokenizer(), attach.weights_of(model)
    written = Checkpoint.write(
        tmp_path / "adapter", model=model, tokenizer=tokenizer, state_dict=own
    )
    return written.path


def config(**keys: str) -> RunConfig:
    given = {"num_steps": "1", "env": "arithmetic"} | keys
    return from_overrides([(name.replace("__", "."), value) for name, value in given.items()])


def test_whole_weights_ask_for_nothing(base: Path, tmp_path: Path):
    plain = config()
    assert told(plain, base, learner=True) is None
    assert described(plain) == []
    assert not isinstance(transfer(str(tmp_path / "w"), None), SharedMemoryAdapters)
    assert served_model(plain, base, tmp_path, learner=True) == base


def test_engines_have_room_for_every_version_that_may_be_in_flight(base: Path, tmp_path: Path):
    known = told(config(learner__lora__rank="4", sync__max_staleness="5"), base, learner=True)
    assert known is not None
    assert (known.rank, known.alpha, known.versions) == (4, 32.0, 7)
    names = ("down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj")
    assert known.modules == names
    assert isinstance(transfer(str(tmp_path / "w"), known), SharedMemoryAdapters)
    # who only samples publishes nothing
    assert told(config(learner__lora__rank="4"), base, learner=False) is None


def test_an_adapter_is_served_from_its_base_or_merged_where_all_weights_are_trained(
    base: Path, adapter: Path, tmp_path: Path
):
    trains = config(learner__lora__rank="4")
    assert served_model(trains, adapter, tmp_path / "run", learner=True) == base
    for how, learner in ((trains, False), (config(), True)):
        whole = served_model(how, adapter, tmp_path / f"run-{learner}", learner=learner)
        assert whole == tmp_path / f"run-{learner}" / "merged"
        assert not Checkpoint(whole).require().is_adapter
        ours = Checkpoint(whole).model(dtype=torch.float32).state_dict()
        theirs = Checkpoint(adapter).model(dtype=torch.float32).state_dict()
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_what_a_learner_needs_is_told_of_the_adapter_and_not_of_the_model(base: Path):
    adapted = config(learner__lora__rank="4")
    model = Checkpoint(base).model(dtype=torch.float32)
    attach.attach(model, LoraConfig(rank=4), base=str(base), seed=0)
    number = sum(weight.numel() for weight in attach.weights_of(model).values())
    assert model_of(base, adapted.learner.lora).trained == number
    assert model_of(base).trained == model_of(base).parameters


def test_a_judge_that_is_an_adapter_is_served_whole(base: Path, adapter: Path, tmp_path: Path):
    asked = config(
        judge__one__model=str(adapter),
        judge__two__model=str(base),
        judge__three__model=str(adapter),
        judge__three__base_url="http://127.0.0.1:1/v1",
    )
    served = with_whole_judges(asked, tmp_path / "run").judge
    assert served["one"].model == str(tmp_path / "run" / "merged-one")
    assert not Checkpoint(served["one"].model).require().is_adapter
    assert (served["two"], served["three"]) == (asked.judge["two"], asked.judge["three"])
    plain = config(judge__two__model=str(base))
    assert with_whole_judges(plain, tmp_path) is plain
    with pytest.raises(ValueError, match=r"holds an adapter.*munro merge"):
        check_checkpoint(str(adapter))


def test_a_dry_run_says_what_is_trained_and_what_cannot_be(base, adapter, tmp_path):
    keys = {"learner__lora__rank": "4", "model__path": str(base)}
    first, second = described(config(**keys))
    assert first.startswith("adapter   rank 4, alpha 32, dropout 0; on down_proj, gate_proj")
    assert second.endswith("at most 10 of them at once")
    assert ", the model's own; on" in described(config(**keys | {"model__path": str(adapter)}))[0]
    with pytest.raises(BadAdapter, match=r"Did you mean q_proj\?"):
        described(config(**keys, learner__lora__modules='["q_prj"]'))
    base.rename(tmp_path / "gone")
    with pytest.raises(CheckpointError, match="its base is not at"):
        described(config(**keys | {"model__path": str(adapter)}))


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"learner__lora__rank": "0"}, "learner.lora.rank = 0: input should be greater than or"),
        ({"learner__lora__dropout": "1.0"}, "learner.lora.dropout = 1.0: input should be less"),
        ({"learner__lora__dropout": "-0.1"}, "learner.lora.dropout = -0.1: input should be gr"),
        ({"learner__lora__rnk": "4"}, r"unknown key learner.lora.rnk. Did you mean .*rank\?"),
        (
            {"learner__lora__rank": "4", "sync__transfer": "nccl"},
            r'"nccl" sends whole weights, and \[learner.lora\] publishes an adapter',
        ),
        ({"learner__lora__base_bits": "8"}, "learner.lora.base_bits = 8: input should be 0 or 4"),
        (
            {"learner__lora__rank": "4", "sync__in_flight": "true"},
            r"with \[learner.lora\] they keep their adapter to the end.* Unset in_flight",
        ),
    ],
)
def test_keys_that_cannot_be_are_one_line(keys, said):
    with pytest.raises(BadConfig, match=said):
        config(**keys)
