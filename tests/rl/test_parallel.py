"""The learner over two dimensions of ranks and more, against one rank: the same weights."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from munro.base_model.config import ParallelConfig
from munro.rl.batch import build_batch
from munro.rl.clip import Clip
from munro.rl.config import LearnerConfig
from tests.base_model.tiny_munro import tiny_model
from tests.forked import run_ranks
from tests.rl.builders import VOCAB, make_model, random_group, save_model
from tests.rl.ten_steps import run
from tests.rl.test_routing import with_routes

TEXTS = [[3, 1, 4, 1, 5, 9, 2, 6, 5], [2, 6]]


def mixture() -> Any:
    sizes = {"vocab_size": VOCAB, "num_experts": 8}
    return tiny_model(sizes=sizes, max_position_embeddings=256, moe_round_tokens=16)


def task(folder: Path, model: Any, **more: Any) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    batches = []
    for step in range(10):
        groups = [random_group(rng, index=i, num_attempts=2 + 2 * i, longest=9) for i in range(2)]
        if more.pop("routed", False):
            groups = [with_routes(group, seed=step) for group in groups]
        batches.append(build_batch(groups))
    given = {"learning_rate": 1e-3, "eps": 1e-4, "token_budget": 512, "max_grad_norm": 0.5}
    return {
        "model": save_model(folder / "model", model),
        "config": LearnerConfig(threads=1, **(given | more)),
        "clip": Clip(eps=0.6),
        "batches": batches,
        "texts": TEXTS,
    }


def ran(folder: Path, task: dict[str, Any], ranks: int = 1, **parallel: int) -> list[Any]:
    asked = {"ranks": ranks, "parallel": ParallelConfig(**parallel)}
    config = LearnerConfig(**(task["config"].model_dump() | asked))
    (folder / "task.pkl").write_bytes(pickle.dumps(task | {"config": config}))
    return [run(folder)] if ranks == 1 else run_ranks("tests.rl.ten_steps", folder, ranks)


def assert_same(folder: Path, one: dict[str, Any], many: list[dict[str, Any]]) -> None:
    for ours in many[1:]:
        assert ours["reports"] == many[0]["reports"]
    for ours, theirs in zip(many[0]["reports"], one["reports"], strict=True):
        assert ours.metrics["learner/loss"] == pytest.approx(
            theirs.metrics["learner/loss"], rel=1e-4, abs=1e-6
        )
        assert ours.metrics["learner/grad_norm"] == pytest.approx(
            theirs.metrics["learner/grad_norm"], rel=1e-4
        )
        print(
            ours.metrics["learner/loss"],
            theirs.metrics["learner/loss"],
            ours.metrics["learner/grad_norm"] / theirs.metrics["learner/grad_norm"] - 1,
        )
        for name in ("policy/entropy", "learner/tokens", "learner/sequences"):
            assert ours.metrics[name] == pytest.approx(theirs.metrics[name], rel=1e-4)
    for rank in many:
        for ours, theirs in zip(rank["scores"], one["scores"], strict=True):
            assert ours == pytest.approx(theirs, abs=1e-4)
    published = torch.load(folder / f"published-{len(many)}.pt")
    expected = torch.load(folder / "published-1.pt")
    assert published.keys() == expected.keys()
    print(
        {
            n: (published[n] - t).abs().max().item()
            for n, t in expected.items()
            if (published[n] - t).abs().max().item() > 1e-6
        }
    )
    for name, tensor in expected.items():
        torch.testing.assert_close(published[name], tensor, rtol=0, atol=1e-5, msg=name)


@pytest.mark.parametrize("parallel", [{"experts": 2}, {"context": 2}, {"context": 2, "experts": 2}])
def test_two(tmp_path, parallel):
    made = task(tmp_path, mixture(), routed=True, balance=0.0)
    (one,) = ran(tmp_path, made)
    two = ran(tmp_path, made, 2, **parallel)
    assert_same(tmp_path, one, two)
