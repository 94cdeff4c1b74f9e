"""From a file of comparisons to a checkpoint that scores, by the command line; every mistake."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM

from munro import distill
from munro.base_model.checkpoint import Checkpoint
from munro.base_model.training.pretrain import StepMetrics
from munro.distill.config import PreferenceConfig
from munro.distill.preference import CannotTrain, train_preference
from munro.machine.cli.main import main
from munro.rewards.preference import PreferenceModel
from munro.rewards.preference.comparisons import Comparison
from munro.rewards.preference.format import Limits
from tests.rewards.preference_models import WORDS, write_tiny

COMPARISONS = [
    Comparison(
        context=f"{number} {word}",
        candidates=(word, f"{word} {word} {word}", f"{word} loch"),
        scores=(5, 1, 3),
    )
    for number, word in enumerate(WORDS * 2)
]
QUICK = {
    "num_steps": 4,
    "batch_rows": 2,
    "checkpoint_every": 2,
    "log_every": 1,
    "threads": 1,
    "held_out": 0.2,
    "optimizer": {"learning_rate": 1e-3},
}


class Killed(Exception):
    pass


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("base") / "model", max_context=128)


def train(base: Path, out: Path, *, kill_at: int | None = None, **changes: Any) -> Path:
    def watch(metrics: StepMetrics) -> None:
        if metrics.step == kill_at:
            raise Killed

    config = PreferenceConfig.model_validate({**QUICK, **changes})
    trained = train_preference(COMPARISONS, onto=base, out=out, config=config, on_metrics=watch)
    return trained.checkpoint.path


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def test_the_result_is_a_checkpoint_that_says_what_it_is_and_how_good(base: Path, tmp_path):
    out = train(base, tmp_path / "rm")
    assert AutoModelForCausalLM.from_pretrained(out).config.model_type == "llama"
    assert weights(out) != weights(base)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["rm"]
    told = json.loads((out / "preference.json").read_text())
    assert told["limits"]["candidates"] == 3
    assert told["held_out"]["comparisons"] == 2
    assert told["held_out"]["pairs"] == 6
    assert set(told["held_out"]["rotated"]) == {
        "pairwise_accuracy",
        "position_bias",
        "spread",
        "by_place",
    }
    assert len((out / "metrics.jsonl").read_text().splitlines()) == 4
    provenance = Checkpoint(out).provenance()
    assert provenance["preference"]["num_steps"] == 4
    assert provenance["comparisons"]["number"] == len(COMPARISONS)
    loaded = PreferenceModel.load(out, device="cpu")
    assert loaded.format.limits == Limits(**told["limits"])
    assert all(0 <= reward <= 1 for reward in loaded.score("cairn", ["loch", "deer"]))


def test_killed_and_called_again_it_ends_with_the_same_weights(base: Path, tmp_path):
    whole = train(base, tmp_path / "whole")
    with pytest.raises(Killed):
        train(base, tmp_path / "cut", kill_at=3)
    assert not (tmp_path / "cut").exists()
    cut = train(base, tmp_path / "cut")
    assert weights(cut) == weights(whole)
    assert json.loads((cut / "preference.json").read_text()) == json.loads(
        (whole / "preference.json").read_text()
    )


def test_another_setting_does_not_resume_what_was_begun(base: Path, tmp_path):
    with pytest.raises(Killed):
        train(base, tmp_path / "rm", kill_at=3)
    other = train(base, tmp_path / "rm", seed=1)
    begun = [entry for entry in tmp_path.iterdir() if entry != other]
    assert [entry.name.startswith("rm.training-") for entry in begun] == [True]
    assert Checkpoint(other).provenance()["preference"]["seed"] == 1


def test_killed_while_it_is_measured_it_measures_again(base: Path, tmp_path, monkeypatch):
    def killed(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(distill.preference, "measure", killed)
        with pytest.raises(Killed):
            train(base, tmp_path / "rm")
    assert not (tmp_path / "rm").exists()
    train(base, tmp_path / "rm", kill_at=1)  # not a step is taken again
    assert (tmp_path / "rm" / "preference.json").is_file()


def write(folder: Path, comparisons: list[Comparison] = COMPARISONS) -> str:
    file = folder / "comparisons.jsonl"
    lines = [
        json.dumps({"context": c.context, "candidates": c.candidates, "scores": c.scores})
        for c in comparisons
    ]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(file)


def munro(monkeypatch, *words: object) -> int:
    monkeypatch.setattr("sys.argv", ["munro", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


STEPS = ("--num_steps", "2", "--batch_rows", "2", "--threads", "1", "--held_out", "0.2")


def test_the_commands_train_print_a_table_and_score(base: Path, tmp_path, monkeypatch, capsys):
    file, out = write(tmp_path), tmp_path / "rm"
    assert (
        munro(monkeypatch, "preference", "train", file, "--onto", base, "--out", out, *STEPS) == 0
    )
    told = capsys.readouterr().out
    assert "held out: 2 comparisons, 6 pairs" in told
    assert "pairwise accuracy" in told
    assert "position bias of the mean score" in told
    assert f"wrote {out}" in told
    alone = tmp_path / "alone.jsonl"
    alone.write_text('{"context": "cairn", "candidates": ["loch"]}\n' * 2)
    assert munro(monkeypatch, "preference", "score", out, alone) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["candidates"] for line in lines] == [["loch"], ["loch"]]
    assert all(0 <= line["rewards"][0] <= 1 for line in lines)


def test_a_users_mistake_is_one_line(base: Path, tmp_path, monkeypatch, capsys):
    file, missing, empty = write(tmp_path), tmp_path / "missing", tmp_path / "empty"
    empty.write_text("")
    train_words = ("preference", "train")
    for words, why in (
        ((*train_words, empty, "--onto", base), "is empty"),
        ((*train_words, missing, "--onto", base), "No such file"),
        ((*train_words, file, "--onto", missing), "the folder itself missing"),
        ((*train_words, file, "--onto", base, "--num_step", "3"), "Did you mean num_steps?"),
        ((*train_words, file, "--onto", base, "--candidates", "1"), "nothing to compare"),
        ((*train_words, file, "--onto", base, "--candidates", "60"), "leaves no room for 60"),
        ((*train_words, file, "--onto", base, "--foreign_share", "0.95"), "more than 1 together"),
        (("preference", "score", missing, file), "there is no checkpoint"),
    ):
        extra = ("--out", tmp_path / "rm") if "train" in words else ()
        assert munro(monkeypatch, *words, *extra) == 2
        said = capsys.readouterr()
        assert said.err.startswith("munro: ")
        assert why in said.err
        assert (said.err.count("\n"), said.out) == (1, "")
    assert not (tmp_path / "rm").exists()


def comparison(context: str, *scores: int) -> Comparison:
    return Comparison(context=context, candidates=WORDS[: len(scores)], scores=scores)


CANNOT = {
    "one context": ([comparison("c", 5, 1)] * 3, {}, "the same context"),
    "nothing to tell apart": (
        [comparison(str(number), 3, 3) for number in range(9)],
        {},
        "do two candidates differ in score",
    ),
    "nobody from elsewhere": (
        [comparison("c", 5, 1), comparison("d", 5, 1)],
        {"foreign_share": 0.1},
        "at least 2 contexts besides those held out",
    ),
}


@pytest.mark.parametrize(("comparisons", "changes", "why"), CANNOT.values(), ids=CANNOT.keys())
def test_comparisons_that_teach_nothing_are_refused_before_training(
    base: Path, tmp_path, comparisons: list[Comparison], changes: dict[str, Any], why: str
):
    config = PreferenceConfig.model_validate({**QUICK, **changes})
    with pytest.raises(CannotTrain, match=why):
        train_preference(comparisons, onto=base, out=tmp_path / "rm", config=config)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_is_never_replaced(base: Path, tmp_path):
    with pytest.raises(CannotTrain, match="exists already"):
        train(base, tmp_path)
