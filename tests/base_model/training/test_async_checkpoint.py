"""Checkpoints are written while training goes on, one at a time, and whole or not at all."""

from __future__ import annotations

import threading

import pytest
import torch

from munro.base_model.checkpoint import Checkpoint, CheckpointError
from munro.base_model.training.async_checkpoint import Writer, writer_of
from munro.base_model.training.sharding import Alone, gathered
from munro.base_model.training.trainer import Trainer
from tests.base_model.builders import small_tokenizer
from tests.base_model.trainable import corpus, maker, training


@pytest.fixture
def gate(monkeypatch):
    """Holds every writer back until it is set."""
    opened, write = threading.Event(), Checkpoint.write

    def slowly(path, **kwargs):
        assert opened.wait(30)
        return write(path, **kwargs)

    monkeypatch.setattr(Checkpoint, "write", slowly)
    return opened


@pytest.fixture
def trainer():
    made = Trainer(maker("dense"), corpus(), training(), Alone("cpu"))
    made.take_step()
    return made


def writer(trainer) -> Writer:
    return writer_of(trainer, small_tokenizer(), Alone("cpu"))


def test_what_training_changes_while_it_is_written_is_not_in_it(tmp_path, gate, trainer):
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    moments = trainer.state()["optimizer"]
    with writer(trainer) as writing:
        writing.save(tmp_path / "unfinished")
        trainer.take_step()
        writing.check()
        assert not (tmp_path / "unfinished").exists()
        gate.set()
    saved = Checkpoint(tmp_path / "unfinished")
    for name, tensor in saved.model(dtype="auto").state_dict().items():
        assert torch.equal(tensor, before[name])
    for name, kept in saved.trainer_state()["optimizer"].items():
        assert all(torch.equal(kept[key], moments[name][key]) for key in kept), name


def test_the_next_one_waits_for_the_one_being_written(tmp_path, gate, trainer):
    with writer(trainer) as writing:
        writing.save(tmp_path / "unfinished")
        threading.Timer(0.2, gate.set).start()
        trainer.take_step()
        assert writing.is_free()
        writing.save(tmp_path / "unfinished")
        assert Checkpoint(tmp_path / "unfinished").can_resume
    assert Checkpoint(tmp_path / "unfinished").trainer_state()["step"] == 2


def test_what_the_disk_refuses_is_told_once_and_in_a_sentence(tmp_path, trainer):
    (tmp_path / "file").touch()
    with writer(trainer) as writing:
        writing.save(tmp_path / "file" / "unfinished")
        with pytest.raises(CheckpointError, match=r"could not be written .*Not a directory"):
            writing.wait()
        writing.check()


def test_copies_are_apart_from_the_weights_and_tied_ones_stay_one():
    model = maker("moe")()
    copies = gathered(model.state_dict(keep_vars=True), copy=True)
    assert copies["lm_head.weight"] is copies["model.embed_tokens.weight"]
    for name, tensor in model.state_dict().items():
        assert torch.equal(copies[name], tensor)
        assert copies[name].data_ptr() != tensor.data_ptr()
