"""What ranks hold of the weights, by the checkpoint's names, against the weights gathered whole."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import socket
from pathlib import Path

import pytest
import torch

from munro.base_model.training.sharding import Alone, world
from munro.rl.saving import published
from munro.rl.shards import HeldWeights
from munro.rollout.transfer.boxes import NotABox
from munro.rollout.transfer.types import Box, Layout
from munro.rollout.transfer.views import views
from tests.base_model.tiny_munro import tiny_model
from tests.rollout.tiny_llama import tiny_experts, tiny_llama

MODELS = {
    "tied": lambda: tiny_llama(tied=True),
    "untied": lambda: tiny_llama(tied=False),
    "experts": tiny_experts,
    "munro": tiny_model,
}


def loaded(kind: str, folder: Path):
    """As a learner has it: loaded from a checkpoint, whose names transformers may change."""
    model = MODELS[kind]()
    model.save_pretrained(folder / kind)
    return type(model).from_pretrained(folder / kind)


def parts(held: Layout, rank: int) -> list[tuple[str, Box]]:
    found = []
    for name, owner, start, stop in zip(held.name, held.rank, held.start, held.stop, strict=True):
        dims = int(held.dims[name])
        box = Box(tuple(map(int, start[:dims])), tuple(map(int, stop[:dims])))
        if owner == rank and box.size:
            found.append((held.names[int(name)], box))
    return found


@pytest.mark.parametrize("kind", MODELS)
def test_one_rank_holds_what_would_be_published(kind: str, tmp_path: Path) -> None:
    model = loaded(kind, tmp_path)
    shards = HeldWeights(model, Alone()).now()
    whole = dict(published(model, Alone()))
    found = parts(shards.held, 0)
    assert sorted(name for name, _ in found) == sorted(whole)
    for name, box in found:
        assert box == Box.whole(whole[name].shape)
        assert torch.equal(shards.part(name, box), whole[name])


def test_a_copy_that_nobody_reads_gives_its_memory_to_the_next(tmp_path: Path) -> None:
    model = loaded("tied", tmp_path)
    held = HeldWeights(model, Alone())
    first = held.now()
    kept = {name: first.part(name, part).clone() for name, part in parts(first.held, 0)}
    with torch.no_grad():
        for weight in model.parameters():
            weight += 1
    other = held.now()
    for name, part in parts(first.held, 0):
        assert torch.equal(first.part(name, part), kept[name])
        assert first.part(name, part).data_ptr() != other.part(name, part).data_ptr()
    with torch.no_grad():
        for weight in model.parameters():
            weight += 1
    last = held.now(again=True)
    for name, part in parts(first.held, 0):
        assert torch.equal(last.part(name, part), kept[name] + 1 + 1)
        assert last.part(name, part).data_ptr() == other.part(name, part).data_ptr()


def test_a_copy_is_not_what_training_changes(tmp_path: Path) -> None:
    model = loaded("tied", tmp_path)
    name, before = next((n, p.detach().clone()) for n, p in model.named_parameters())
    shards = HeldWeights(model, Alone()).now()
    with torch.no_grad():
        model.get_parameter(name).add_(1)
    assert torch.equal(shards.part(name, Box.whole(before.shape)), before)


def test_a_weight_that_is_made_of_two_is_refused_by_name(tmp_path: Path, monkeypatch) -> None:
    model = loaded("tied", tmp_path)
    shapes = {name: p.shape for name, p in model.named_parameters()}

    def reverted(_, state):
        (first, one), (_, other) = list(state.items())[:2]
        return {**state, first: torch.cat([one.flatten(), other.flatten()])}

    monkeypatch.setattr("transformers.core_model_loading.revert_weight_conversion", reverted)
    with pytest.raises(NotABox, match=r"embed_tokens\S* .* made of several parameters"):
        views(model, shapes)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_ranks_hold_all_of_it_between_them(tmp_path: Path) -> None:
    loaded("experts", tmp_path)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    spawn = multiprocessing.get_context("spawn")
    ranks = [spawn.Process(target=hold, args=(rank, port, tmp_path)) for rank in (0, 1)]
    for one in ranks:
        one.start()
    for one in ranks:
        one.join()
    told = [pickle.loads((tmp_path / f"{rank}.pkl").read_bytes()) for rank in (0, 1)]
    whole = dict(told[0]["whole"])
    got = {name: torch.full_like(tensor, float("nan")) for name, tensor in whole.items()}
    assert told[0]["held"] == told[1]["held"]
    for rank in (0, 1):
        own = sum(tensor.numel() for _, _, tensor in told[rank]["parts"])
        assert own < 0.6 * sum(tensor.numel() for tensor in whole.values())
        for name, box, tensor in told[rank]["parts"]:
            assert got[name][box.slices].isnan().all()
            got[name][box.slices] = tensor
    assert all(torch.equal(got[name], tensor) for name, tensor in whole.items())


def hold(rank: int, port: int, folder: Path) -> None:
    """One rank of two: what it holds, and what is gathered."""
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": "0",
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    torch.set_num_threads(1)
    ranks = world()
    kind = type(tiny_experts())
    model = ranks.shard(kind.from_pretrained(folder / "experts"))
    shards = HeldWeights(model, ranks).now()
    found = [(name, box, shards.part(name, box).clone()) for name, box in parts(shards.held, rank)]
    told = {"held": shards.held.digest, "parts": found, "whole": list(published(model, ranks))}
    (folder / f"{rank}.pkl").write_bytes(pickle.dumps(told))
    torch.distributed.destroy_process_group()
