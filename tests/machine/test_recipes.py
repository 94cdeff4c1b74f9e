"""A recipe by its bare name; a wrong file is one line that names what lies nearest."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from munro.machine.cli.main import munro
from munro.machine.errors import BadConfig
from munro.machine.loading import load, overrides_of
from munro.machine.recipes import bundled, recipe_file

ROOT = Path(__file__).parents[2]
MINE = 'num_steps = 3\nenv = "arithmetic"\nname = "mine"\n'


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def said(*words: str) -> str:
    """The one line of a command that is refused."""
    done: Result = CliRunner().invoke(munro, words, prog_name="munro")
    assert isinstance(done.exception, BadConfig), (done.exception, done.output)
    assert "\n" not in str(done.exception)
    return str(done.exception)


@pytest.mark.parametrize("name", ["quickstart", "quickstart.toml"])
def test_a_bare_name_is_a_recipe_that_comes_with_munro(elsewhere: Path, name: str) -> None:
    assert recipe_file(name).resolve() == ROOT / "configs" / "quickstart.toml"
    assert load(name).name == "quickstart"


@pytest.mark.parametrize("name", ["quickstart", "quickstart.toml"])
def test_a_file_of_that_name_in_the_folder_wins(elsewhere: Path, name: str) -> None:
    (elsewhere / "quickstart.toml").write_text(MINE)
    assert load(name).name == "mine"


def test_a_folder_of_that_name_does_not(elsewhere: Path) -> None:
    (elsewhere / "quickstart").mkdir()
    assert load("quickstart").name == "quickstart"


def test_a_path_is_a_path(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadConfig, match=r"no file ./quickstart.toml. Did you mean quickstart\?"):
        load("./quickstart.toml")
    monkeypatch.chdir(ROOT)
    assert load("configs/quickstart.toml").name == "quickstart"


COMMANDS = {
    "climb": ("climb",),
    "machine": ("machine",),
    "pretrain": ("pretrain",),
    "ladder": ("ladder",),
    "mix": ("mix",),
    "data": ("data", "build"),
}
OF = {
    "climb": {"quickstart", "sums", "gated", "smollm2", "smollm2_lora", "stem"},
    "machine": {"machine", "machine_tiny"},
    "pretrain": {"pretrain", "pretrain_tiny"},
    "ladder": {"ladder", "ladder_tiny"},
    "mix": {"mix", "mix_tiny"},
    "data": {"data"},
}


@pytest.mark.parametrize("kind", COMMANDS)
def test_every_command_answers_a_name_that_is_none_with_its_own_recipes(
    elsewhere: Path, kind: str
) -> None:
    words = said(*COMMANDS[kind], "zzz", "--dry-run")
    named = re.fullmatch(r"there is no file or recipe zzz\. There are: (.*)\.", words)
    assert named is not None, words
    assert OF[kind] <= set(named[1].split(", "))


@pytest.mark.parametrize("kind", COMMANDS)
def test_a_file_for_another_command_is_answered_with_that_command(
    elsewhere: Path, kind: str
) -> None:
    other = "machine_tiny" if kind == "climb" else "quickstart"
    verb = "machine" if kind == "climb" else "climb"
    wanted = " ".join(COMMANDS[kind])
    assert said(*COMMANDS[kind], other, "--dry-run") == (
        f"{other} is a file for `munro {verb}`, not for `munro {wanted}`: munro {verb} {other}"
    )


PLANNED = [
    "machine_tiny",
    pytest.param(
        "pretrain_tiny", marks=pytest.mark.slow
    ),  # reads all its texts to tell their sizes
    "ladder_tiny",
    "mix_tiny",
]


@pytest.mark.parametrize("name", PLANNED)
def test_a_bare_name_can_be_planned_from_anywhere(elsewhere: Path, name: str) -> None:
    verb = name.removesuffix("_tiny")
    done = CliRunner().invoke(munro, [verb, name, "--dry-run"], catch_exceptions=False)
    assert done.exit_code == 0
    assert list(elsewhere.iterdir()) == []


def test_a_name_is_shown_and_planned_as_a_file_is(elsewhere: Path) -> None:
    shown = CliRunner().invoke(munro, ["config", "quickstart"], catch_exceptions=False)
    assert 'name = "quickstart"' in shown.output
    checked = CliRunner().invoke(munro, ["env", "check", "quickstart.toml"], catch_exceptions=False)
    assert "digits is sound" in checked.output


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "mine.toml is empty: it must set num_steps and env, as quickstart does"),
        ("[project]\nname = 'x'\n[tool]\n", "it holds project, tool, but it must set num_steps"),
        ("num_steps = 3", "env is not set, and has no default"),
    ],
)
def test_a_file_of_no_kind_is_said_so(elsewhere: Path, text: str, why: str) -> None:
    (elsewhere / "mine.toml").write_text(text)
    assert why in said("climb", "mine.toml")


def test_options_may_say_all_that_an_empty_file_leaves_out(elsewhere: Path) -> None:
    (elsewhere / "mine.toml").write_text("")
    config = load("mine.toml", [("num_steps", "3"), ("env", "arithmetic")])
    assert config.num_steps == 3


def test_a_runs_folder_is_answered_with_its_recipe(elsewhere: Path) -> None:
    (elsewhere / "runs" / "mine").mkdir(parents=True)
    assert "runs is a folder: give a TOML file, or a recipe of ours (" in said("machine", "runs")
    (elsewhere / "runs" / "mine" / "run.json").write_text("{}")
    (elsewhere / "runs" / "mine" / "config.toml").write_text(MINE)
    assert said("climb", "runs/mine") == (
        "runs/mine is the folder of a run: its recipe is runs/mine/config.toml"
    )


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("quikstart", "quickstart"), ("quick", "quickstart"), ("machin.toml", "machine")],
)
def test_a_mistyped_name_is_answered_with_the_nearest(
    elsewhere: Path, name: str, nearest: str
) -> None:
    assert said("climb", name).endswith(f"Did you mean {nearest}?")


def test_an_unlike_name_is_not_taken_for_another(elsewhere: Path) -> None:
    assert "Did you mean" not in said("climb", "mine.toml")


@pytest.mark.parametrize(
    ("command", "what"), [("climb", "FILE"), ("config", "FILE"), ("distill", "RUN")]
)
def test_a_forgotten_file_is_asked_for(elsewhere: Path, command: str, what: str) -> None:
    required = ["--onto", "x", "--out", "y"] if command == "distill" else []
    assert said(command, "--name", "mine", *required) == (
        f"{what} is missing: write munro {command} {what}, then --name and other options"
    )


def test_a_list_that_the_shell_parted_is_to_be_quoted() -> None:
    with pytest.raises(BadConfig, match=r"whole value: --length.stages '\[4, 8\]'$"):
        overrides_of(["--length.stages", "[4,", "8]", "--name", "mine"])
    with pytest.raises(BadConfig, match="'mine' is not an option"):
        overrides_of(["--length.stages", "[4, 8]", "mine"])


def test_what_comes_with_munro_is_what_lies_in_configs() -> None:
    assert bundled().keys() == {file.stem for file in (ROOT / "configs").glob("*.toml")}
