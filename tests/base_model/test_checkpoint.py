"""A checkpoint is whole or not there, whatever the disk or the power does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from munro.base_model.checkpoint import Checkpoint, CheckpointError
from munro.base_model.config import ModelConfig
from munro.base_model.small.quickstart import new_model
from tests.base_model.builders import small_tokenizer

SHAPE = ModelConfig(
    architecture="llama", hidden_size=32, intermediate_size=48, num_layers=1, num_heads=1
)


def small_model(seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return new_model(SHAPE, small_tokenizer())


def write(path: Path, *, seed: int = 0, **kwargs: Any) -> Checkpoint:
    return Checkpoint.write(path, model=small_model(seed), tokenizer=small_tokenizer(), **kwargs)


def same_weights(checkpoint: Checkpoint, model: Any) -> bool:
    ours, theirs = checkpoint.model().state_dict(), model.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


def test_what_was_written_is_read_back(tmp_path):
    state = {"step": 7, "optimizer": {"state": {0: {"exp_avg": torch.arange(3.0)}}}}
    checkpoint = write(tmp_path / "deep" / "one", trainer_state=state, provenance={"from": "x"})
    assert checkpoint.exists
    assert same_weights(checkpoint, small_model())
    assert checkpoint.tokenizer()("12")["input_ids"] == small_tokenizer()("12")["input_ids"]
    read = checkpoint.trainer_state()
    assert read["step"] == 7
    assert torch.equal(read["optimizer"]["state"][0]["exp_avg"], torch.arange(3.0))
    assert checkpoint.provenance() == {"from": "x"}


def test_given_weights_are_written_instead_of_the_models_own(tmp_path):
    given = small_model(seed=1).state_dict()
    assert same_weights(write(tmp_path / "one", state_dict=given), small_model(seed=1))


def test_writing_replaces_the_old_one_and_leaves_nothing_beside_it(tmp_path):
    write(tmp_path / "one", seed=0, trainer_state={"step": 1})
    replaced = write(tmp_path / "one", seed=1)
    assert same_weights(replaced, small_model(seed=1))
    assert os.listdir(tmp_path) == ["one"]
    with pytest.raises(CheckpointError, match=r"trainer_state\.pt missing"):
        replaced.trainer_state()


LIMITED = """
import resource, signal, sys
from pathlib import Path
import torch
from munro.base_model.checkpoint import CheckpointError
from tests.base_model.test_checkpoint import write
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for limit in (100, 20_000, 200_000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        write(Path(sys.argv[1]), seed=1, trainer_state={"moments": torch.zeros(200_000)})
    except CheckpointError as error:
        print(error)
"""


def test_a_disk_that_refuses_leaves_the_old_checkpoint_and_no_half_of_a_new_one(tmp_path):
    # the kernel refuses to grow any file beyond the limit, as a full disk would: first within
    # config.json, then within the weights, then within the trainer's state
    write(tmp_path / "one", seed=0)
    run = [sys.executable, "-c", LIMITED, str(tmp_path / "one")]
    root = Path(__file__).parents[2]
    done = subprocess.run(run, capture_output=True, text=True, cwd=root, check=True)
    refusals = done.stdout.splitlines()
    assert len(refusals) == 3
    for refusal in refusals:
        assert refusal.startswith(f"checkpoint {tmp_path / 'one'}: could not be written")
        assert "File too large" in refusal
    assert os.listdir(tmp_path) == ["one"]
    assert same_weights(Checkpoint(tmp_path / "one"), small_model(seed=0))


def test_an_error_of_ours_is_not_taken_for_the_disks(tmp_path):
    with pytest.raises(TypeError):
        write(tmp_path / "one", provenance={"not": object()})
    assert os.listdir(tmp_path) == []


def test_a_writer_killed_before_its_rename_leaves_the_old_checkpoint(tmp_path):
    old = write(tmp_path / "one", seed=0)
    (tmp_path / ".one.draft").mkdir()
    (tmp_path / ".one.draft" / "config.json").write_text("{")
    assert same_weights(old, small_model(seed=0))
    assert same_weights(write(tmp_path / "one", seed=1), small_model(seed=1))
    assert os.listdir(tmp_path) == ["one"]


def test_a_writer_killed_between_its_renames_leaves_the_old_checkpoint(tmp_path):
    write(tmp_path / "one", seed=0)
    (tmp_path / "one").rename(tmp_path / ".one.aside")
    assert same_weights(Checkpoint(tmp_path / "one"), small_model(seed=0))


def test_a_missing_folder_is_named(tmp_path):
    absent = Checkpoint(tmp_path / "absent")
    assert not absent.exists
    with pytest.raises(CheckpointError, match="absent: the folder itself missing"):
        absent.model()


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer_config.json"])
def test_an_incomplete_folder_says_what_is_missing(tmp_path, name):
    checkpoint = write(tmp_path / "one")
    (checkpoint.path / name).unlink()
    assert not checkpoint.exists
    with pytest.raises(CheckpointError, match=f"{name} missing"):
        checkpoint.tokenizer()


def test_a_missing_shard_of_the_weights_is_named(tmp_path):
    checkpoint = write(tmp_path / "one")
    (checkpoint.path / "model.safetensors").rename(checkpoint.path / "model-1.safetensors")
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (checkpoint.path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert checkpoint.missing() == ("model-2.safetensors",)


def test_a_folder_without_provenance_has_an_empty_one(tmp_path):
    assert write(tmp_path / "one").provenance() == {}


@pytest.mark.parametrize("deep", ["checkpoints/step-{:06d}", "{:d}-mid/model"])
def test_the_folder_of_a_run_is_answered_with_the_newest_checkpoint_inside(tmp_path, deep):
    for number in (20, 3):  # 3 is written last
        write(tmp_path / deep.format(number))
    with pytest.raises(CheckpointError) as caught:
        Checkpoint(tmp_path).require()
    assert str(caught.value) == (
        f"checkpoint {tmp_path}: it is none itself, but holds some: give "
        f"{tmp_path / deep.format(3)}, the newest"
    )
