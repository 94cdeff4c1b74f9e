"""The writing side of the weight transfer."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from munro.rollout import weights
from munro.rollout.weights import (
    NotPublished,
    SharedMemoryWeights,
    checkpoint_tensors,
    latest,
    place,
)
from tests.rollout.tiny_llama import tiny_experts


def test_what_is_published_is_read_back_bit_by_bit(tmp_path: Path):
    sent = {"a.weight": torch.randn(3, 4), "b": torch.randn(5).to(torch.bfloat16)}
    source = SharedMemoryWeights(tmp_path).publish(sent.items(), version=7)
    read = load_file(source.path)
    assert source.version == 7
    assert read.keys() == sent.keys()
    assert all(torch.equal(read[name], sent[name]) for name in sent)


def test_an_engine_that_starts_later_finds_the_newest_version(tmp_path: Path):
    weights = SharedMemoryWeights(tmp_path / "new" / "folder")
    assert latest(tmp_path / "new" / "folder") is None
    weights.publish([("a", torch.zeros(2))], version=1)
    second = weights.publish([("a", torch.ones(2))], version=2)
    assert latest(tmp_path / "new" / "folder") == second


def test_the_two_newest_versions_are_kept(tmp_path: Path):
    weights = SharedMemoryWeights(tmp_path)
    sources = [weights.publish([("a", torch.zeros(2))], version=v) for v in (8, 9, 10, 11)]
    assert [Path(source.path).exists() for source in sources] == [False, False, True, True]


def test_the_oldest_goes_before_the_next_is_written_so_that_two_never_need_room_for_three(tmp_path):
    seen = []

    class Watched(SharedMemoryWeights):
        def _write(self, tensors, half):
            seen.append(sorted(path.name for path in tmp_path.glob("*.safetensors")))
            super()._write(tensors, half)

    weights = Watched(tmp_path)
    for version in (7, 8, 9, 9):
        weights.publish([("w", torch.zeros(3))], version=version)
    seven, eight, nine = (f"weights-00000{version}.safetensors" for version in (7, 8, 9))
    assert seen == [[], [seven], [eight], [eight, nine]]


def test_a_tied_matrix_is_written_once(tmp_path: Path):
    matrix = torch.randn(4, 3)
    pairs = [("embed.weight", matrix), ("norm", torch.ones(3)), ("lm_head.weight", matrix)]
    source = SharedMemoryWeights(tmp_path).publish(pairs, version=1)
    assert load_file(source.path).keys() == {"embed.weight", "norm"}


def test_fused_experts_are_sent_one_by_one_as_in_a_checkpoint(tmp_path: Path):
    model = tiny_experts()
    model.save_pretrained(tmp_path / "model")
    sent = checkpoint_tensors(model, model.state_dict())
    saved = load_file(tmp_path / "model" / "model.safetensors")
    assert sent.keys() == saved.keys() != model.state_dict().keys()
    assert all(torch.equal(sent[name], saved[name]) for name in saved)


def test_a_transposed_or_expanded_tensor_is_written_as_what_it_looks_like(tmp_path: Path):
    matrix = torch.randn(4, 3)
    pairs = [("t", matrix.T), ("wide", torch.ones(1).expand(5))]
    read = load_file(SharedMemoryWeights(tmp_path).publish(pairs, version=1).path)
    assert torch.equal(read["t"], matrix.T)
    assert torch.equal(read["wide"], torch.ones(5))


def test_a_failure_half_way_leaves_the_earlier_version_published_and_nothing_else(tmp_path: Path):
    weights = SharedMemoryWeights(tmp_path)
    first = weights.publish([("a", torch.zeros(2))], version=1)

    def breaks() -> Iterator[tuple[str, torch.Tensor]]:
        yield "a", torch.ones(2)
        raise RuntimeError("a rank died")

    with pytest.raises(RuntimeError, match="a rank died"):
        weights.publish(breaks(), version=2)
    assert latest(tmp_path) == first
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "latest.json",
        Path(first.path).name,
    ]


def test_closing_leaves_nothing_in_memory(tmp_path: Path):
    weights = SharedMemoryWeights(tmp_path / "w")
    weights.publish([("a", torch.zeros(2))], version=1)
    weights.close()
    assert not (tmp_path / "w").exists()
    weights.close()


def test_the_place_is_shared_memory_or_the_folder_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("munro.rollout.weights.SHARED_MEMORY", tmp_path)
    assert place("stem") == tmp_path / "munro-stem"
    monkeypatch.setattr("munro.rollout.weights.SHARED_MEMORY", tmp_path / "none")
    assert place("stem", otherwise=tmp_path / "run") == tmp_path / "run" / "weights"
    with pytest.raises(ValueError, match="name a folder"):
        place("stem")


def test_what_a_killed_driver_left_in_shared_memory_goes_and_what_a_living_one_uses_stays(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(weights, "SHARED_MEMORY", tmp_path)
    ended = subprocess.Popen(["true"])
    ended.wait()
    left, used, other = (
        tmp_path / name
        for name in (f"munro-stem-{ended.pid}", f"munro-stem-{os.getpid()}", "munro-stem-two-1x")
    )
    for folder in (left, used, other):
        folder.mkdir()
    weights.sweep("stem")
    assert [folder.exists() for folder in (left, used, other)] == [False, True, True]


@pytest.fixture
def small_disk(tmp_path):
    """A file system in memory of a quarter of a megabyte."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("file systems can be mounted by root alone")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("is_shared_memory", [True, False])
def test_a_folder_too_small_for_the_weights_is_named_with_what_can_be_done(
    small_disk, monkeypatch, is_shared_memory
):
    if is_shared_memory:
        monkeypatch.setattr(weights, "SHARED_MEMORY", small_disk)
    transfer = SharedMemoryWeights(small_disk / "munro-run-1")
    transfer.publish([("w", torch.zeros(100))], version=1)
    with pytest.raises(NotPublished) as told:
        transfer.publish([("w", torch.zeros(500_000))], version=2)
    said = str(told.value)
    assert "weights of version 2 (2.0 MB) could not be written to" in said
    assert "sync.weights_folder to a folder with room for 4.0 MB" in said
    assert (f"or enlarge {small_disk} (a container's: docker run --shm-size)" in said) == (
        is_shared_memory
    )
    assert "\n" not in said
    assert latest(small_disk / "munro-run-1").version == 1


def test_a_folder_that_has_gone_is_named(tmp_path):
    transfer = SharedMemoryWeights(tmp_path / "weights")
    transfer.close()
    with pytest.raises(NotPublished, match="weights, which is gone"):
        transfer.publish([("w", torch.zeros(3))], version=1)
