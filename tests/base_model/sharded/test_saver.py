"""One rank's part in a sharded checkpoint, with a group of one; several are in `test_ranks`."""

from __future__ import annotations

import copy
import json
import pickle
import threading
import time
from pathlib import Path

import pytest
import torch
from torch import distributed

from munro.base_model.checkpoint import COMMIT, STATE, Checkpoint, CheckpointError
from munro.base_model.sharded import saver as module
from munro.base_model.sharded.export import export
from munro.base_model.sharded.saver import Order, Saver
from munro.base_model.sharded.state import restore, tensors_of
from munro.base_model.whole import drafts_of, remove_drafts
from tests.base_model.builders import small_tokenizer
from tests.base_model.trainable import maker


@pytest.fixture
def saver(tmp_path):
    distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1
    )
    yield Saver()
    distributed.destroy_process_group()


@pytest.fixture
def trained():
    """A mixture with a buffer that is saved, tied weights, and moments."""
    model = maker("moe")()
    optimizer = torch.optim.AdamW(model.parameters())
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    return model, optimizer


def order(path: Path, model, **changes) -> Order:
    given = {"export": "never", "progress": {"step": 3}, "provenance": {"from": "a test"}}
    return Order(path=path, model=model, tokenizer=small_tokenizer, **{**given, **changes})


def write(saver, path, trained, **changes) -> Checkpoint:
    model, optimizer = trained
    saver.begin(order(path, model, **changes), tensors_of(model, optimizer))
    saver.wait()
    return Checkpoint(path)


def restored(path):
    model = maker("moe")()
    optimizer = torch.optim.AdamW(model.parameters())
    restore(path, model, optimizer)
    return model, optimizer


def assert_same(one, other):
    for (model, optimizer), (theirs, their_optimizer) in [(one, other)]:
        for name, tensor in model.state_dict().items():
            assert torch.equal(tensor, theirs.state_dict()[name]), name
        state, their_state = optimizer.state_dict()["state"], their_optimizer.state_dict()["state"]
        assert state.keys() == their_state.keys()
        for number, moments in state.items():
            for key in moments:
                assert torch.equal(moments[key], their_state[number][key]), key


@pytest.fixture
def gate(monkeypatch):
    """Holds the writer back, once the draft is there, until it is set."""
    opened, seen = threading.Event(), module._require_seen

    def slowly(draft):
        seen(draft)
        assert opened.wait(60)

    monkeypatch.setattr(module, "_require_seen", slowly)
    return opened


def test_what_training_changes_meanwhile_is_not_in_it(saver, trained, tmp_path, gate):
    before = copy.deepcopy(trained[0]), copy.deepcopy(trained[1])
    saver.begin(order(tmp_path / "a", trained[0]), tensors_of(*trained))
    for tensor in tensors_of(*trained).values():
        tensor.zero_()
    assert saver.saving() == "writing"
    assert not (tmp_path / "a").exists()
    gate.set()
    saver.wait()
    assert saver.saving() == ""
    assert_same(restored(tmp_path / "a"), before)
    saved = Checkpoint(tmp_path / "a")
    assert saved.commit()["progress"] == {"step": 3}
    assert saved.provenance() == {"from": "a test"}


def test_a_second_one_takes_the_first_one_s_plan_and_its_place(saver, trained, tmp_path):
    write(saver, tmp_path / "a", trained)
    with torch.no_grad():
        trained[0].lm_head.weight.add_(1.0)
    write(saver, tmp_path / "a", trained)
    assert_same(restored(tmp_path / "a"), trained)
    assert [path.name for path in tmp_path.iterdir() if "a" in path.name] == ["a"]


def test_its_model_is_what_transformers_would_have_written(saver, trained, tmp_path, monkeypatch):
    monkeypatch.setattr("munro.base_model.sharded.export.FILE_BYTES", 40_000)
    checkpoint = write(saver, tmp_path / "a", trained)
    assert checkpoint.can_resume
    assert checkpoint.missing() == ("model.safetensors",)
    export(tmp_path / "a", is_renamed=False)
    names = sorted(path.name for path in (tmp_path / "a").glob("model*"))
    assert len(names) > 2
    assert names[-1] == "model.safetensors.index.json"
    loaded = checkpoint.model(dtype=torch.float32)
    for name, tensor in trained[0].state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    trained[0].save_pretrained(tmp_path / "own")
    for file in ("config.json", "generation_config.json"):
        assert (tmp_path / "a" / file).read_text() == (tmp_path / "own" / file).read_text()
    index = json.loads((tmp_path / "a" / names[-1]).read_text())
    own = {name for name in trained[0].state_dict() if name != "lm_head.weight"}
    assert index["weight_map"].keys() == own


def test_moments_may_be_dropped_and_a_model_is_left(saver, trained, tmp_path):
    checkpoint = write(saver, tmp_path / "a", trained)
    export(tmp_path / "a", is_renamed=False)
    checkpoint.drop_trainer_state()
    assert checkpoint.exists
    assert not checkpoint.has_trainer_state
    assert not [path for path in checkpoint.path.rglob("*") if STATE in path.name]


def test_without_its_last_word_it_does_not_exist(saver, trained, tmp_path):
    checkpoint = write(saver, tmp_path / "step-000007", trained)
    (checkpoint.path / COMMIT).rename(tmp_path / COMMIT)
    assert not checkpoint.can_resume
    for ask in (checkpoint.require, checkpoint.provenance, checkpoint.model):
        with pytest.raises(CheckpointError, match=r"does not exist: take the one before it"):
            ask()
    (tmp_path / COMMIT).rename(checkpoint.path / COMMIT)
    piece = next((checkpoint.path / STATE).glob("*.distcp"))
    piece.write_bytes(piece.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=rf"state/{piece.name} missing"):
        checkpoint.require(weights=False)


def test_whoever_wants_the_model_of_pieces_is_told_how_to_make_it(saver, trained, tmp_path):
    checkpoint = write(saver, tmp_path / "run" / "checkpoints" / "step-000050", trained)
    with pytest.raises(CheckpointError, match=rf"munro export {tmp_path}/run 50"):
        checkpoint.model()


def test_what_the_disk_refuses_is_told_once_and_in_a_sentence(saver, trained, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match=r"could not be written .*Not a directory"):
        write(saver, tmp_path / "file" / "a", trained)
    assert saver.saving() == ""
    assert write(saver, tmp_path / "a", trained).can_resume


def test_a_run_that_was_taken_up_again_gets_no_checkpoint_of_its_former_life(
    saver, trained, tmp_path, gate
):
    saver.begin(order(tmp_path / "a", trained[0]), tensors_of(*trained))
    while not drafts_of(tmp_path / "a"):
        saver.saving()
        time.sleep(0.01)  # the writer wants the processor too
    remove_drafts(tmp_path / "a")
    gate.set()
    with pytest.raises(CheckpointError, match="could not be written"):
        saver.wait()
    assert not (tmp_path / "a").exists()
    assert not drafts_of(tmp_path / "a")


def test_another_model_s_is_refused_by_the_name_of_a_weight(saver, trained, tmp_path):
    write(saver, tmp_path / "a", trained)
    other = maker("dense")()
    with pytest.raises(CheckpointError, match=r"another shape: \S+ is .* there and .* in this run"):
        restore(tmp_path / "a", other, torch.optim.AdamW(other.parameters()))


class Hostile:
    def __reduce__(self):
        return (print, ("run",))


def test_the_list_of_pieces_runs_nothing(saver, trained, tmp_path):
    write(saver, tmp_path / "a", trained)
    (tmp_path / "a" / STATE / ".metadata").write_bytes(pickle.dumps(Hostile()))
    with pytest.raises(CheckpointError, match=r"builtins\.print has no place in it"):
        restored(tmp_path / "a")
