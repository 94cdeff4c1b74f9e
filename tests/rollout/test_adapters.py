"""The writing side of an adapter's way to the engines."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import LoraConfig

from munro.base_model.adapters import attach, files
from munro.rollout.weights import NotPublished, latest
from tests.rollout.tiny_adapters import adapted, move, publish, told
from tests.rollout.tiny_llama import tiny_llama


@pytest.fixture
def model(tmp_path: Path):
    made = adapted(tiny_llama(tied=True), tmp_path / "base")
    move(made, seed=1)
    return made


def test_what_is_published_is_an_adapter_that_peft_knows(model, tmp_path: Path):
    source = publish(model, tmp_path / "sent", 7)
    assert source.version == 7
    assert latest(tmp_path / "sent") == source
    config = LoraConfig.from_pretrained(source.path)
    assert (config.r, config.lora_alpha) == (4, 8)
    other = tiny_llama(tied=True)
    files.put_on(other, Path(source.path))
    ours, theirs = attach.weights_of(model), attach.weights_of(other)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_two_newest_versions_are_kept_and_nothing_half_written(model, tmp_path: Path):
    for version in (8, 9, 10, 11, 11):
        publish(model, tmp_path / "sent", version)
    left = sorted(path.name for path in (tmp_path / "sent").iterdir())
    assert left == ["adapter-000010", "adapter-000011", "latest.json"]


def test_a_folder_that_is_gone_is_told_and_what_was_published_is_let_be(model, tmp_path: Path):
    from munro.rollout.adapters import SharedMemoryAdapters

    transfer = SharedMemoryAdapters(tmp_path / "sent", told(model))
    (tmp_path / "sent").rename(tmp_path / "gone")
    with pytest.raises(NotPublished, match=r"weights of version 3 .* which is gone"):
        transfer.publish(attach.weights_of(model).items(), 3)
