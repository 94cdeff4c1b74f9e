"""Phases follow each other, go on where they stopped, and lengthen the context."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from munro.base_model.checkpoint import CheckpointError
from munro.base_model.training.goodput import LEDGER, read_goodput
from munro.base_model.training.phases import phase_folder, train
from munro.base_model.training.pretrain import StepMetrics
from munro.base_model.training.recipe import PretrainRecipe
from munro.base_model.training.trainer import TrainingError
from tests.base_model.phased import recipe, write_texts
from tests.base_model.trainable import Killed, weights

TIMED = {"tokens_per_s", "seconds_left", "time/step", "speed/mfu"}


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    write_texts(folder)
    return folder


@pytest.fixture(scope="module")
def whole(texts, tmp_path_factory):
    """A run that nobody disturbed: its recipe, folder, checkpoint."""
    folder, plan = tmp_path_factory.mktemp("whole"), recipe(texts)
    return plan, folder, train(plan, folder)


def lines(folder: Path, name: str = "metrics.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def figures(plan: PretrainRecipe, folder: Path) -> list[dict[str, Any]]:
    """Every figure of both phases that is not a time."""
    return [
        {key: line[key] for key in line if key not in TIMED}
        for name in plan.phase
        for line in lines(phase_folder(plan, folder, name))
    ]


def test_both_phases_are_trained_the_second_from_the_first(whole):
    plan, folder, done = whole
    assert done.path == folder / "2-mid" / "model"
    assert [line["step"] for line in figures(plan, folder)] == [*range(1, 9), *range(1, 5)]
    last, first = lines(folder / "1-pretrain")[-1], lines(folder / "2-mid")[0]
    untrained = lines(folder / "1-pretrain")[0]
    assert abs(first["loss"] - last["loss"]) < 0.5 * (untrained["loss"] - last["loss"])


def test_the_second_phase_has_the_longer_context(whole):
    _, _, done = whole
    model = done.model()
    assert model.config.max_position_embeddings == 64
    assert done.tokenizer().model_max_length == 64
    provenance = done.provenance()
    assert (provenance["phase"], provenance["training"]["row_tokens"]) == ("mid", 64)


def test_moments_are_carried_over_and_dropped_when_they_have_done_their_work(whole):
    _, folder, _ = whole
    assert not list(folder.rglob("trainer_state.pt"))


def test_metrics_tell_load_evaluation_and_utilisation(whole):
    _, folder, _ = whole
    rows = lines(folder / "1-pretrain")
    assert all({"experts/violation/max", "time/step", "speed/mfu"} <= row.keys() for row in rows)
    assert [row["step"] for row in rows if "evaluation/target" in row] == [3, 6, 8]
    row = rows[-1]
    expected = (0.175 * row["evaluation/math"] + 0.1 * row["evaluation/general"]) / 0.275
    assert row["evaluation/target"] == pytest.approx(expected)
    scores = json.loads((folder / "1-pretrain" / "evaluation.json").read_text())
    assert {score["name"]: score["nll"] for score in scores} == {
        "sums": row["evaluation/math/sums/nll"],
        "prose": row["evaluation/general/prose/nll"],
    }


def test_the_ledger_holds_both_phases_and_adds_up(whole):
    _, folder, _ = whole
    records = lines(folder, LEDGER)
    assert {record["phase"] for record in records if record["span"] == "step"} == {
        "pretrain",
        "mid",
    }
    found = read_goodput(folder / LEDGER)
    assert found.wall == records[-1]["at"] - records[0]["at"]
    assert min(found.ideal, found.start, found.checkpoint, found.evaluation) > 0


def test_a_finished_run_is_not_done_again(whole):
    plan, folder, done = whole
    before = weights(done), (folder / LEDGER).read_bytes()
    seen: list[str] = []
    again = train(plan, folder, on_metrics=lambda name, metrics: seen.append(name))
    assert (again, seen) == (done, [])
    assert (weights(again), (folder / LEDGER).read_bytes()) == before


@pytest.mark.parametrize(
    "where", [pytest.param(("pretrain", 5), marks=pytest.mark.slow), ("mid", 1)]
)
def test_a_run_stopped_in_either_phase_ends_as_if_it_had_not_been(whole, tmp_path, where):
    plan, folder, done = whole

    def stop(name: str, metrics: StepMetrics) -> None:
        if (name, metrics.step) == where:
            raise Killed

    with pytest.raises(Killed):
        train(plan, tmp_path, on_metrics=stop)
    resumed = train(plan, tmp_path)
    assert figures(plan, tmp_path) == figures(plan, folder)
    assert weights(resumed) == weights(done)


def test_a_source_that_all_phases_together_would_exhaust_is_named(texts, tmp_path):
    plan = recipe(texts, tokens=200_000)
    with pytest.raises(TrainingError, match=r"source sums would be read \d+\.\d times .* cap is 8"):
        train(plan, tmp_path)


def test_a_start_of_another_shape_is_refused_by_the_first_weight_that_differs(
    whole, texts, tmp_path
):
    _, _, done = whole
    plan = recipe(texts, shape={"hidden_size": 48})
    wider = plan.model.model_copy(update={"start": str(done.path)})
    with pytest.raises(CheckpointError, match=r"another shape: .* is \(.*32.*\) there and \(.*48"):
        train(plan.model_copy(update={"model": wider}), tmp_path)


def test_a_vocabulary_smaller_than_the_tokenizers_is_refused(texts, tmp_path):
    with pytest.raises(TrainingError, match="vocab_size = 64 is smaller than the tokenizer's"):
        train(recipe(texts, shape={"vocab_size": 64}), tmp_path)
