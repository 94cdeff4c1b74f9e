"""`munro data` and `munro tokenizer`, as a person calls them."""

from __future__ import annotations

from pathlib import Path

import pytest

from munro.base_model.data.config import DataConfig
from munro.machine.cli.main import main
from munro.machine.loading import load_as
from tests.base_model.data.texts import prose

ROOT = Path(__file__).parents[3]

RECIPE = """
out = "{out}"
workers = 1

[[sources]]
name = "notes"
paths = ["{notes}"]

[tokenizer]
vocab_size = 300
training_mb = 0.01
"""


def munro(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    monkeypatch.setattr("sys.argv", ["munro", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    notes = tmp_path / "notes"
    notes.mkdir()
    for number in range(4):
        (notes / f"{number}.md").write_text(prose(number))
    (notes / "again.md").write_text(prose(0))
    file = tmp_path / "data.toml"
    file.write_text(RECIPE.format(out=tmp_path / "out", notes=notes))
    return file


def test_a_build_prints_its_funnel_and_leaves_shards(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert munro(monkeypatch, "data", "build", recipe) == 0
    shown = capsys.readouterr().out
    assert "1 equal to another" in shown
    assert "tokens in all" in shown
    assert (recipe.parent / "out" / "notes" / "shards.json").is_file()


def test_a_dry_run_says_what_would_be_read_and_writes_nothing(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert munro(monkeypatch, "data", "build", recipe, "--dry-run") == 0
    assert "notes: 1 parts" in capsys.readouterr().out
    assert not (recipe.parent / "out").exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["--sources", "[]"], "sources"),
        (["--fuzzy.bands", "7"], "take 256 and 32"),
        (["--outt", "x"], "unknown key outt"),
        (["--sources", '[{name="a", paths=["none"]}]'], "there is no file or folder none"),
        (["--tokenizer.path", "./none"], "there is no tokenizer at ./none"),
        (["--decontamination.files", '["none.jsonl"]'], "there is no file or folder none.jsonl"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(
    recipe: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    overrides: list[str],
    message: str,
) -> None:
    assert munro(monkeypatch, "data", "build", recipe, *overrides) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("munro: ")
    assert message in said


def test_a_tokenizer_is_trained_from_files_and_loads(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from munro.base_model.data.shards.encoder import load_tokenizer

    (recipe.parent / "notes" / "broken.md").write_bytes(b"\xff")
    out = recipe.parent / "tokenizer"
    arguments = ("tokenizer", "train", recipe.parent / "notes", "--vocab-size", "320")
    assert munro(monkeypatch, *arguments, "--out", out) == 0
    assert "left out: 1 read/invalid UTF-8" in capsys.readouterr().out
    tokenizer = load_tokenizer(str(out))
    assert len(tokenizer) == 320
    text = f"{prose(9)}\n\tnaïve 東京 1234"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_a_tokenizer_needs_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty.txt").touch()
    arguments = ("tokenizer", "train", tmp_path / "empty.txt", "--vocab-size", "300")
    assert munro(monkeypatch, *arguments, "--out", tmp_path / "out") == 2
    assert "no text to train a tokenizer on" in capsys.readouterr().err


def test_the_recipe_of_the_repository_is_one() -> None:
    config = load_as(DataConfig, str(ROOT / "configs" / "data.toml"))
    assert [source.name for source in config.sources] == ["stdlib", "documentation"]
