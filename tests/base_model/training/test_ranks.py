"""Two real ranks, FSDP2 over gloo, against one: the same losses, norms, loads and weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from munro.base_model.training.phases import train
from munro.base_model.training.trainer import TrainingError
from tests.base_model.phased import recipe, write_texts
from tests.base_model.trainable import Killed

pytestmark = pytest.mark.slow

SHARDS = ("zero2", "zero3")


def spread(ranks: int, **more: Any) -> dict[str, Any]:
    return {"parallelism": {"threads": 1, "ranks": ranks, **more}, "keep_documents_apart": True}


def lines(folder: Path) -> list[dict[str, Any]]:
    files = sorted(folder.glob("*/metrics.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    write_texts(folder)
    return folder


def plan(texts: Path, ranks: int, **more: Any) -> Any:
    """Without dropout, whose masks are a rank's own."""
    made = recipe(texts, **spread(ranks, **more))
    still = made.model.model_copy(update={"options": {"dropout": 0.0}})
    return made.model_copy(update={"model": still})


@pytest.fixture(scope="module")
def alone(texts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    return folder, train(plan(texts, 1), folder)


@pytest.mark.parametrize("shard", SHARDS)
def test_two_ranks_come_to_what_one_does(texts, alone, tmp_path, shard):
    folder, one = alone
    both = train(plan(texts, 2, shard=shard, activation_checkpointing=shard == "zero3"), tmp_path)
    ours, theirs = lines(tmp_path), lines(folder)
    assert len(ours) == len(theirs) == 12
    for here, there in zip(ours, theirs, strict=True):
        assert here["loss"] == pytest.approx(there["loss"], rel=1e-4)
        assert here["grad_norm"] == pytest.approx(there["grad_norm"], rel=1e-3)
        assert here["num_tokens"] == there["num_tokens"]
        for name in ("experts/violation/max", "evaluation/target"):
            assert here.get(name, 0.0) == pytest.approx(there.get(name, 0.0), abs=0.05), name
    saved = one.model().state_dict()
    for name, tensor in both.model().state_dict().items():
        torch.testing.assert_close(tensor, saved[name], rtol=1e-2, atol=2e-3)


def test_two_ranks_go_on_from_what_one_left(texts, alone, tmp_path):
    folder, _ = alone

    def stop(name: str, metrics: Any) -> None:
        if (name, metrics.step) == ("pretrain", 5):
            raise Killed

    with pytest.raises(Killed):
        train(plan(texts, 1), tmp_path, on_metrics=stop)
    heard: list[int] = []
    train(plan(texts, 2), tmp_path, on_metrics=lambda name, metrics: heard.append(metrics.step))
    assert heard == [*range(5, 9), *range(1, 5)]
    for here, there in zip(lines(tmp_path), lines(folder), strict=True):
        assert here["loss"] == pytest.approx(there["loss"], rel=1e-3)


def test_a_sentence_from_a_rank_reaches_the_caller(texts, tmp_path):
    broken = plan(texts, 2).model_copy(update={"reference": str(tmp_path / "missing.json")})
    with pytest.raises(TrainingError, match="cannot read the reference"):
        train(broken, tmp_path / "run")
