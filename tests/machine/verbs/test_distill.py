"""`munro distill` and `munro consolidate` as a person types them; every mistake is one line."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from munro.base_model.checkpoint import Checkpoint
from munro.distill.sources import CannotDistill
from munro.machine.cli.main import munro
from munro.machine.loading import BadConfig
from munro.machine.run.files import RunError
from munro.machine.sentences import is_sentence
from munro.machine.verbs.distill import parse_weights
from tests.distill.runs import make_base, make_run

TINY = [
    "--training.batch_rows", "2", "--training.row_tokens", "64", "--filters.duplicates", "false",
    "--training.optimizer.learning_rate", "1e-3", "--training.threads", "1",
]  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Two runs and a base."""
    folder = tmp_path_factory.mktemp("place")
    make_base(folder / "base")
    make_run(folder / "stem", steps=6)
    make_run(folder / "agentic", steps=6, seed=1)
    return folder


def munro_says(*words: object) -> Result:
    return CliRunner().invoke(munro, [str(word) for word in words])


def mistake(*words: object) -> str:
    """The one line that `munro` would end with."""
    error = munro_says(*words).exception
    assert isinstance(error, Exception)
    assert is_sentence(error), error
    assert "\n" not in str(error)
    return str(error)


def test_distill_shows_what_it_takes_and_writes_a_checkpoint(place, tmp_path):
    asked = ("distill", place / "stem", "--onto", place / "base", "--out", tmp_path / "ckpt", *TINY)
    done = munro_says(*asked)
    assert done.exit_code == 0, done.output
    assert "stem: 36 traces in 3 steps, 18 with a wanted outcome, 18 read, 18 taken" in done.output
    assert f"wrote {tmp_path / 'ckpt'}" in done.output
    assert Checkpoint(tmp_path / "ckpt").exists
    assert "was made before, from the same" in munro_says(*asked).output


def test_a_dry_run_writes_nothing(place, tmp_path):
    asked = ("distill", place / "stem", "--onto", place / "base", "--out", tmp_path / "ckpt")
    done = munro_says(*asked, "--dry-run", "--select.window", "[0.0, 1.0]", "--last-step", "2")
    assert done.exit_code == 0, done.output
    assert "duplicate dropped 6, for example\n    stem:1/" in done.output
    assert done.output.splitlines()[1].split()[:3] == ["stem", "1-2", "6"]
    assert list(tmp_path.iterdir()) == []


def test_consolidate_prints_shares_of_samples_and_tokens(place, tmp_path):
    done = munro_says(
        "consolidate", place / "stem", place / "agentic", "--onto", place / "base",
        "--out", tmp_path / "ckpt", "--weights", "stem=0.75,agentic=0.25", *TINY,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    rows = [line.split() for line in done.output.splitlines() if "  " in line]
    assert rows[0][:5] == ["run", "steps", "traces", "samples", "tokens"]
    assert rows[1][:4] == ["stem", "4-6", "18", "75.0%"]
    assert rows[2][:4] == ["agentic", "4-6", "6", "25.0%"]
    training = Checkpoint(tmp_path / "ckpt").provenance()["training"]
    assert training["schedule"]["final"] == 0.5
    assert training["num_steps"] * 2 * 64 > 3 * 24 * 30, "four epochs"


def test_a_runs_own_distill_table_holds_and_a_file_in_its_place(place, tmp_path):
    run = make_run(tmp_path / "own", steps=4)
    (run / "config.toml").write_text("[distill]\nevery = 5\n[distill.select]\nmost_traces = 3\n")
    asked = ("distill", run, "--onto", place / "base", "--out", tmp_path / "ckpt", "--dry-run")
    assert " 3 taken" in munro_says(*asked).output
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("[distill.select]\nmost_traces = 2\n")
    assert " 2 taken" in munro_says(*asked, "--config", recipe).output


def test_a_cut_store_is_told(place, tmp_path):
    run = make_run(tmp_path / "cut", steps=2)
    file = run / "rollouts" / "step-000002.parquet"
    last = pq.ParquetFile(file).metadata.row_group(2).column(0)
    file.write_bytes(file.read_bytes()[: last.data_page_offset + 10])
    asked = ("distill", run, "--onto", place / "base", "--out", tmp_path / "ckpt", "--dry-run")
    done = munro_says(*asked, "--select.window", "[0.0, 1.0]")
    assert done.exit_code == 0, done.output
    assert "step-000002.parquet is cut short: of the 3 row groups wanted" in done.output


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["distill", "RUNS/none"], "There is no run at RUNS/none: it has no rollouts."),
        (["distill", "RUNS/stem", "--select.windw", "1"], "unknown key select.windw"),
        (["distill", "RUNS/stem", "--first-step", "9"], "steps 9 to 6 of RUNS/stem holds no"),
        (["distill", "RUNS/stem", "--filters.least_reward", "5"], "filters dropped poor 18"),
        (["distill", "RUNS/stem", "--training.batch_rows", "64"], "set it to"),
        (["consolidate", "RUNS/stem", "--weights", "math=1"], "'math', which is none of the runs"),
        (["consolidate", "RUNS/stem", "--teachers.x.repetition", "1"], "teachers.x names no run"),
        (["consolidate", "RUNS/stem", "RUNS/stem"], "two runs are called stem"),
    ],
)
def test_mistakes_are_one_line(place, tmp_path, words, told):
    words = [word.replace("RUNS", str(place)) for word in words]
    said = mistake(*words, "--onto", place / "base", "--out", tmp_path / "ckpt")
    assert told.replace("RUNS", str(place)) in said
    assert not (tmp_path / "ckpt").exists()


def test_a_base_that_is_not_there_is_one_line(place, tmp_path):
    said = mistake("distill", place / "stem", "--onto", tmp_path / "no", "--out", tmp_path / "ckpt")
    assert "the folder itself missing" in said


@pytest.mark.parametrize("text", ["a=1,b=0", "a=1,b=x", "a=1,b=-2", "a=1,b=nan", "a=1,b=inf"])
def test_weights_are_positive_numbers(text):
    with pytest.raises(BadConfig, match="give a number above 0"):
        parse_weights(text, ["a", "b"])


def test_every_run_needs_a_weight_or_none_has_one():
    with pytest.raises(BadConfig, match="says nothing of b"):
        parse_weights("a=1", ["a", "b"])
    assert parse_weights("", ["a", "b"]) == {"a": 1.0, "b": 1.0}
    assert parse_weights(" a = 0.5 , b=2", ["a", "b"]) == {"a": 0.5, "b": 2.0}


def test_these_errors_are_sentences():
    for kind in (CannotDistill, RunError, BadConfig):
        assert is_sentence(kind("why"))
