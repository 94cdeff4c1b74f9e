"""`munro pretrain`: the plan, the run, the same command again, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tomli_w
from click.testing import CliRunner, Result

from munro.machine.cli.main import munro
from munro.machine.loading import BadConfig
from munro.machine.run.files import RunError
from munro.machine.run.lock import held_folder
from tests.base_model.phased import recipe, write_texts

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A recipe of two short phases, as a person would write it."""
    folder = tmp_path_factory.mktemp("recipe")
    write_texts(folder)
    raw = recipe(folder, tokens=512).model_dump(mode="json", exclude_defaults=True)
    (folder / "tiny.toml").write_text(tomli_w.dumps({**raw, "folder": str(folder)}))
    return folder / "tiny.toml"


@pytest.fixture(scope="module")
def run(file):
    """The whole of it, once."""
    return invoke("pretrain", str(file), "--name", "run"), file.parent / "run"


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(munro, list(arguments), catch_exceptions=False)


def test_a_dry_run_prints_the_plan_and_writes_nothing(file, tmp_path):
    done = invoke("pretrain", str(file), "--dry-run", "--out", str(tmp_path / "run"))
    assert done.exit_code == 0
    rows = {line.split()[0]: line.split() for line in done.output.splitlines() if line.strip()}
    assert rows["pretrain"][:5] != rows["mid"][:5]
    assert "mid reads prose 100.0%" in done.output
    assert list(tmp_path.iterdir()) == []


def test_the_plan_of_the_reports_training_is_the_reports():
    done = invoke("pretrain", str(ROOT / "configs" / "pretrain.toml"), "--dry-run")
    assert "34.7B active of 962B parameters" in done.output
    assert [line.split()[4] for line in done.output.splitlines()[3:6]] == [
        "223,517",
        "25,332",
        "1,118",
    ]


def test_a_run_says_how_it_goes_and_where_the_result_is(run):
    done, folder = run
    assert done.exit_code == 0
    assert "pretrain  step 2/2" in done.output
    assert "mid  step 4/4" in done.output
    assert "evaluation target" in done.output
    assert "goodput" in done.output
    assert done.output.splitlines()[-1] == f"wrote {folder / '2-mid' / 'model'}"


def test_the_same_command_again_does_nothing(run, file):
    _, folder = run
    again = invoke("pretrain", str(file), "--name", "run")
    assert again.output == f"nothing to do: {folder / '2-mid' / 'model'} is there\n"


def test_goodput_can_be_asked_for_later(run):
    done, folder = run
    table = invoke("goodput", str(folder)).output
    assert table in done.output
    with pytest.raises(RunError, match="There is no pre-training at"):
        invoke("goodput", str(folder / "nowhere"))


def test_another_recipe_for_the_same_run_is_refused_by_what_changed(run, file):
    with pytest.raises(BadConfig, match=r"phase\.pretrain\.balance: 0\.01 -> 0\.5"):
        invoke("pretrain", str(file), "--name", "run", "--phase.pretrain.balance", "0.5")
    forced = invoke(
        "pretrain", str(file), "--name", "run", "--phase.pretrain.balance", "0.5", "--force"
    )
    assert forced.output.startswith("nothing to do")


def test_two_processes_do_not_train_one_run(file, tmp_path):
    with held_folder(tmp_path, "wait"), pytest.raises(RunError, match="already in use"):
        invoke("pretrain", str(file), "--out", str(tmp_path))


@pytest.mark.parametrize(
    ("option", "why"),
    [
        (("--phase.mid.contxt", "64"), r"unknown key phase\.mid\.contxt.* phase\.mid\.context"),
        (("--phase.mid.context", "100"), "batch_tokens = 256 is not a multiple of context = 100"),
        (("--phase.mid.mixture", "{ poems = 1.0 }"), "names 'poems', which is no source"),
        (("--model.num_layers", "7"), "num_layers = 7 is not a multiple of 6"),
    ],
)
def test_bad_keys_are_sentences(file, option, why):
    with pytest.raises(BadConfig, match=why):
        invoke("pretrain", str(file), "--dry-run", *option)


def test_a_source_that_is_not_there_is_a_sentence(file, tmp_path):
    raw = json.dumps([{"path": str(tmp_path / "missing"), "category": "code"}]).replace(":", "=")
    with pytest.raises(BadConfig, match="missing, which is not there"):
        invoke(
            *("pretrain", str(file), "--out", str(tmp_path / "run")),
            *("--data.sources", raw, "--phase.mid.mixture", "{}"),
        )


def dry(file, *overrides):
    return invoke("pretrain", str(file), "--dry-run", "--name", "dry", *overrides)


NOT_THERE = {
    "a tokenizer": (("--data.tokenizer", "no/tokenizer"), "data.tokenizer: there is no tokenizer"),
    "the first weights": (
        ("--model.start", "./no/model"),
        "model.start = ./no/model: the folder its",
    ),
    "a reference": (("--reference", "no.json"), "reference: there is no file no.json"),
}


@pytest.mark.parametrize("what", NOT_THERE)
def test_what_is_not_there_is_told_by_a_dry_run_and_before_anything_is_trained(file, what):
    overrides, said = NOT_THERE[what]
    done = dry(file, *overrides)
    assert done.exit_code == 1
    assert f"not ready: {said}" in done.output
    with pytest.raises(BadConfig, match=said.split(":")[0]):
        invoke("pretrain", str(file), "--name", "dry", *overrides)
    assert not (file.parent / "dry").exists()


def test_a_dry_run_of_the_reports_own_names_all_that_is_missing():
    done = invoke("pretrain", str(ROOT / "configs" / "pretrain.toml"), "--dry-run")
    assert done.exit_code == 1
    told = [line for line in done.output.splitlines() if line.startswith("not ready: ")]
    assert "data.tokenizer: there is no tokenizer in data/o200k_base" in told[0]
    assert len(told) == 1 + 7  # its sources


def test_a_dry_run_counts_how_often_each_source_would_be_read(file):
    done = dry(file, "--phase.mid.tokens", "10_000_000")
    assert done.exit_code == 1
    assert "not ready: source prose would be read" in done.output
    assert "its cap is" in done.output
    assert not (file.parent / "dry").exists()


def test_a_dry_run_tells_of_a_recipe_that_changed(run, file):
    asked = ("--name", "run", "--phase.mid.tokens", "256")
    told = invoke("pretrain", str(file), "--dry-run", *asked)
    assert told.exit_code == 1
    assert "was begun with another recipe (phase.mid.tokens: " in told.output
    assert invoke("pretrain", str(file), "--dry-run", *asked, "--force").exit_code == 0
