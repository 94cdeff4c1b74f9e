"""What a run tells while it goes on: spikes with their sources, evaluations, utilisation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from munro.base_model.checkpoint import CheckpointError
from munro.base_model.data.shards.held_out import HeldOutSet
from munro.base_model.training.pretrain import Measuring, pretrain
from munro.base_model.training.records import RecordsError
from tests.base_model.builders import small_tokenizer
from tests.base_model.trainable import Killed, maker, training

NOISE_FROM = 400
"""Index of the first document that is noise."""
NOISE = 24


class Counting:
    """Documents that count upwards, and for a while none that can be predicted."""

    def source(self, index: int) -> str:
        return "noise" if NOISE_FROM <= index < NOISE_FROM + NOISE else "counting"

    def tokens(self, index: int, progress: float) -> list[int]:
        if self.source(index) == "noise":
            return np.random.default_rng(index).integers(3, 250, 16).tolist()
        return list(range(5 + index % 3, 21 + index % 3))


def train(folder: Path, kind: str, *, kill_at: int = 0, **measuring: Any) -> list[dict[str, Any]]:
    def watch(metrics: Any) -> None:
        if metrics.step == kill_at:
            raise Killed

    pretrain(
        maker(kind),
        small_tokenizer(),
        Counting(),
        training(
            num_steps=60,
            checkpoint_every=20,
            optimizer={"learning_rate": 0.02},
            spikes={"window": 16},
            peak_flops=1e9,
        ),
        folder=folder,
        on_metrics=watch,
        measuring=Measuring(**measuring),
    )
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("kind", ["dense", pytest.param("moe", marks=pytest.mark.slow)])
def test_a_spike_is_kept_with_its_batchs_sources_and_the_experts_load(tmp_path, kind):
    train(tmp_path, kind)
    spikes = [json.loads(line) for line in (tmp_path / "spikes.jsonl").read_text().splitlines()]
    expected = NOISE_FROM // 8 + 1  # eight documents a step
    first = next(spike for spike in spikes if spike["step"] == expected)
    assert first["loss"] > 2 * first["usual_loss"]
    assert first["sources"]["noise"] > 0.5
    assert sum(first["sources"].values()) == pytest.approx(1.0)
    assert ("experts/violation/max" in first) == (kind == "moe")


def test_spikes_of_steps_that_were_lost_are_told_once(tmp_path):
    train(tmp_path / "whole", "dense")
    with pytest.raises(Killed):
        train(tmp_path / "killed", "dense", kill_at=57)
    train(tmp_path / "killed", "dense")
    ours, theirs = (tmp_path / name / "spikes.jsonl" for name in ("killed", "whole"))
    assert ours.read_text() == theirs.read_text()


def test_utilisation_is_operations_over_what_the_device_could_have_done(tmp_path):
    rows = train(tmp_path, "dense", flops_per_token=2e5)
    tokens = rows[9]["num_tokens"] - rows[8]["num_tokens"]
    assert rows[9]["speed/mfu"] == pytest.approx(2e5 * tokens / (rows[9]["time/step"] * 1e9))


def test_a_run_is_scored_after_its_last_step_in_nats_of_the_reference(tmp_path):
    texts = ["The sum of two numbers is a number."]
    prose = HeldOutSet.of("prose", "general", texts, small_tokenizer(), row_tokens=32)
    *rows, last = train(tmp_path, "dense", held_out=(prose,), reference={"prose": 2.0})
    assert not any("evaluation/target" in row for row in rows)
    assert last["evaluation/target"] == pytest.approx(last["evaluation/general/prose/nll"] / 2)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device /dev/full")
def test_a_disk_that_is_full_ends_the_training_with_a_sentence(tmp_path):
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(RecordsError, match="No space left on device"):
        train(tmp_path, "dense")


def test_a_checkpoint_that_cannot_be_written_ends_the_training_before_the_next_is_due(tmp_path):
    (tmp_path / ".unfinished.draft").touch()  # where the writer wants a folder
    with pytest.raises(CheckpointError, match=r"unfinished: could not be written .*File exists"):
        train(tmp_path, "dense")
    taken = len((tmp_path / "metrics.jsonl").read_text().splitlines())
    assert 20 <= taken < 40
