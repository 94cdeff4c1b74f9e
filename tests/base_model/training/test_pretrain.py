"""The trainer core learns, and a killed run ends like one that was left alone."""

from __future__ import annotations

import json
import math
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch

from munro.base_model.config import PretrainConfig
from munro.base_model.data.shards.packing import Cursor, Lesson, pack
from munro.base_model.training.pretrain import language_loss
from tests.base_model.builders import small_tokenizer
from tests.base_model.trainable import Killed, maker, train, weights
from tests.rounding import depth, near


def repeatable(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    timed = {"tokens_per_s", "seconds_left", "time/step"}
    return [{k: v for k, v in json.loads(line).items() if k not in timed} for line in lines]


@pytest.mark.parametrize(
    ("kill_at", "apart", "kind"),
    [
        (1, True, "dense"),
        (4, False, "dense"),
        (7, True, "moe"),
        pytest.param(7, True, "dense", marks=pytest.mark.slow),
        pytest.param(11, False, "dense", marks=pytest.mark.slow),
        pytest.param(4, True, "moe", marks=pytest.mark.slow),
    ],
)
def test_a_run_killed_at_any_step_and_resumed_ends_bitwise_like_one_left_alone(
    tmp_path, kill_at, apart, kind
):
    changes = {"keep_documents_apart": apart, "balance": 0.01}
    whole, _ = train(tmp_path / "whole", kind, **changes)
    with pytest.raises(Killed):
        train(tmp_path / "killed", kind, kill_at=kill_at, **changes)
    resumed, seen = train(tmp_path / "killed", kind, **changes)
    assert seen[0].step == 4 * (kill_at // 4 if kill_at % 4 else kill_at // 4 - 1) + 1
    assert weights(resumed) == weights(whole)
    assert repeatable(tmp_path / "killed") == repeatable(tmp_path / "whole")


def test_the_seed_decides_the_weights(tmp_path):
    first, again, other = (
        weights(train(tmp_path / name, seed=seed, num_steps=2)[0])
        for name, seed in (("first", 0), ("again", 0), ("other", 1))
    )
    assert first == again
    assert first != other


def test_the_loss_falls_by_a_quarter_within_a_hundred_steps(tmp_path):
    _, seen = train(tmp_path, num_steps=100, optimizer={"learning_rate": 0.02})
    assert seen[0].loss == pytest.approx(math.log(len(small_tokenizer())), abs=0.2)
    last = fmean(metrics.loss for metrics in seen[-10:])
    assert last < seen[0].loss * 3 / 4


def test_a_finished_run_is_not_run_again(tmp_path):
    done, _ = train(tmp_path, num_steps=2)
    before = weights(done)
    again, seen = train(tmp_path, num_steps=2)
    assert (again.path, seen) == (done.path, [])
    assert weights(again) == before


def test_the_finished_checkpoint_carries_its_origin_and_no_trainer_state(tmp_path):
    done, seen = train(tmp_path, num_steps=5)
    provenance = done.provenance()
    assert provenance["from"] == "a test"
    assert provenance["training"]["num_steps"] == 5
    assert provenance["num_tokens"] == seen[-1].num_tokens
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["metrics.jsonl", "model"]
    assert not (done.path / "trainer_state.pt").exists()


def test_training_leaves_the_callers_random_state_alone(tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train(tmp_path, num_steps=1)
    assert torch.equal(torch.rand(3), expected)


def test_the_loss_is_the_mean_over_what_each_document_predicts_alone():
    torch.manual_seed(0)
    model = maker("dense")()
    documents = [[5, 6, 7, 8], [9, 10, 11], [12, 13]]
    rows, _ = pack(documents.__getitem__, Cursor(), rows=1, row_tokens=9, apart=True)
    total = 0.0
    for ids in documents:
        logp_TV = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
        total -= sum(logp_TV[t, ids[t + 1]].item() for t in range(len(ids) - 1))
    loss = language_loss(model, rows, apart=True).item()
    assert loss == near(total / 6, depth(model, 9))


@pytest.mark.parametrize("learned_of_8", [1, 6], ids=["few logits kept", "all logits kept"])
def test_the_loss_of_lessons_counts_only_what_is_learned(learned_of_8: int):
    torch.manual_seed(0)
    model = maker("dense")()
    mask = [False] * (8 - learned_of_8) + [True] * learned_of_8
    documents = [Lesson(list(range(start, start + 8)), mask) for start in (5, 30)]
    rows, _ = pack(documents.__getitem__, Cursor(), rows=2, row_tokens=8, apart=True)
    total = 0.0
    for lesson in documents:
        ids = torch.tensor([lesson.token_ids])
        logp_TV = model(input_ids=ids).logits[0].log_softmax(-1)
        total -= sum(logp_TV[t - 1, ids[0, t]].item() for t in range(8) if mask[t])
    loss = language_loss(model, rows, apart=True).item()
    assert loss == near(total / (2 * learned_of_8), depth(model, 16))


def test_the_gradient_norm_is_told_before_clipping_and_the_rate_as_scheduled(tmp_path):
    _, seen = train(tmp_path, num_steps=3, optimizer={"max_grad_norm": 1e-3})
    assert all(metrics.grad_norm > 1e-3 for metrics in seen)
    rates = [metrics.learning_rate for metrics in seen]
    peak = PretrainConfig().optimizer.learning_rate
    assert rates == pytest.approx([peak / 3, peak * 2 / 3, peak])
