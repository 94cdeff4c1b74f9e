"""Checkpoints are written while training goes on, one at a time, and whole or not at all."""

from __future__ import annotations

import threading

import pytest
import torch

from munro.base_model.checkpoint import Checkpoint, CheckpointError
from munro.base_model.training.async_checkpoint import CheckpointWriter, on_host
from tests.base_model.builders import small_tokenizer
from tests.base_model.trainable import maker


@pytest.fixture
def gate(monkeypatch):
    """Holds every writer back until it is set."""
    opened, write = threading.Event(), Checkpoint.write

    def slowly(path, **kwargs):
        assert opened.wait(30)
        return write(path, **kwargs)

    monkeypatch.setattr(Checkpoint, "write", slowly)
    return opened


def test_what_training_changes_while_it_is_written_is_not_in_it(tmp_path, gate):
    model = maker("dense")()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    moments = {"exp_avg": torch.ones(3)}
    with CheckpointWriter(tmp_path / "unfinished", small_tokenizer()) as writer:
        weights = on_host(model.state_dict(keep_vars=True))
        writer.write(model, weights, {"step": 1, "optimizer": on_host(moments)})
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(1.0)
        moments["exp_avg"].add_(1.0)
        writer.check()
        assert not (tmp_path / "unfinished").exists()
        gate.set()
    saved = Checkpoint(tmp_path / "unfinished")
    for name, tensor in saved.model(dtype="auto").state_dict().items():
        assert torch.equal(tensor, before[name])
    assert saved.trainer_state()["optimizer"]["exp_avg"].tolist() == [1.0, 1.0, 1.0]


def test_the_next_one_waits_for_the_one_being_written(tmp_path, gate):
    model = maker("dense")()
    with CheckpointWriter(tmp_path / "unfinished", small_tokenizer()) as writer:
        writer.write(model, on_host(model.state_dict(keep_vars=True)), {"step": 1})
        threading.Timer(0.2, gate.set).start()
        writer.write(model, on_host(model.state_dict(keep_vars=True)), {"step": 2})
        assert Checkpoint(tmp_path / "unfinished").exists
    assert Checkpoint(tmp_path / "unfinished").trainer_state() == {"step": 2}


def test_what_the_disk_refuses_is_told_once_and_in_a_sentence(tmp_path):
    (tmp_path / "file").touch()
    model = maker("dense")()
    with CheckpointWriter(tmp_path / "file" / "unfinished", small_tokenizer()) as writer:
        writer.write(model, on_host(model.state_dict(keep_vars=True)), {"step": 1})
        with pytest.raises(CheckpointError, match=r"could not be written .*Not a directory"):
            writer.wait()
        writer.check()


def test_copies_are_apart_from_the_weights_and_tied_ones_stay_one():
    model = maker("moe")()
    copies = on_host(model.state_dict(keep_vars=True))
    assert copies["lm_head.weight"] is copies["model.embed_tokens.weight"]
    for name, tensor in model.state_dict().items():
        assert torch.equal(copies[name], tensor)
        assert copies[name].data_ptr() != tensor.data_ptr()
