"""What the pages tell a person to type exists: commands, options, targets, recipes, links."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import click
import pytest

from munro.machine.loading import BadConfig
from tests.command_line import WRITTEN, check, find, keys_of, knows
from tests.documented import (
    PAGES,
    ROOT,
    TYPED,
    Command,
    blocks,
    commands,
    is_json_lines,
    spans,
)
from tests.test_layers import MAY_IMPORT

MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
VARIABLES = set(re.findall(r"^([A-Z_]+) \?=", MAKEFILE, re.MULTILINE))
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
MADE = {"keys.md"}
"""Pages that the site is built with, and that lie nowhere (tests/test_site.py)."""
pages = pytest.mark.parametrize("page", PAGES, ids=str)


def by(program: str, *, of: list[Command]) -> list[Command]:
    return [command for command in of if command.words[0].rpartition("/")[2] == program]


def refusal(command: Command) -> str:
    """Why `munro` would not take a command as it is printed; empty where it would."""
    try:
        check(command.words[1:])
    except click.UsageError as error:
        return f"{command}: {error.format_message()}"
    except (BadConfig, LookupError) as error:
        return f"{command}: {error}"
    return ""


@pages
def test_every_command_is_taken_as_it_is_printed(page: Path) -> None:
    assert list(filter(None, map(refusal, by("munro", of=commands(page))))) == []


@pages
def test_every_command_in_the_prose_exists_and_is_taken_where_it_is_whole(page: Path) -> None:
    found = []
    for command in by("munro", of=spans(page)):
        words = [word for word in command.words[1:] if word != "..."]
        _, arguments = find(words)
        if arguments and len(words) == len(command.words) - 1:
            found.append(refusal(command))
    # an option that is only named has no value
    assert [why for why in found if why and "requires an argument" not in why] == []


@pages
def test_every_make_target_and_variable_exists(page: Path) -> None:
    for command in by("make", of=commands(page) + spans(page)):
        target, *settings = command.words[1:]
        assert target in TARGETS, command
        assert {word.partition("=")[0] for word in settings} <= VARIABLES, command


@pages
def test_every_extra_is_one_of_ours(page: Path) -> None:
    for command in by("pip", of=commands(page)):
        for named in re.findall(r"(?:\.|munro)\[([\w,-]+)\]", " ".join(command.words)):
            assert set(named.split(",")) <= EXTRAS.keys(), command


@pages
def test_every_option_of_a_script_is_in_the_script(page: Path) -> None:
    for command in by("python", of=commands(page) + spans(page)):
        script, *words = command.words[1:]
        if script.endswith(".py"):
            text = (ROOT / script).read_text()
            options = [word for word in words if word.startswith("--")]
            assert [option for option in options if f'"{option}"' not in text] == [], command


@pages
def test_every_recipe_and_script_exists(page: Path) -> None:
    # what is called "mine" stands for a file of the reader's own
    code = [block.text for block in blocks(page)]
    code += re.findall(r"`([^`\n]+)`", (ROOT / page).read_text())
    files = re.findall(
        r"\b(?:configs|benchmarks|docs)/(?!mine|my_)[\w/-]+\.(?:toml|py|md)", "\n".join(code)
    )
    assert [name for name in files if not (ROOT / name).is_file()] == []


@pages
def test_every_key_of_a_toml_sample_is_known(page: Path) -> None:
    for block in blocks(page):
        if block.language != "toml":
            continue
        # "project" is of a reader's own pyproject.toml
        keys = [key for key in keys_of(tomllib.loads(block.text)) if key[0] != "project"]
        unknown = {
            tree.__name__: [".".join(key) for key in keys if not knows(tree, key)]
            for tree in WRITTEN
        }
        assert [] in unknown.values(), f"{page}:{block.line}: {unknown}"


@pages
def test_every_fence_says_what_it_holds(page: Path) -> None:
    for block in blocks(page):
        assert block.language in (*TYPED, "text", "toml", "json", "python"), block.line
        assert block.language != "json" or is_json_lines(block.text), block.line


@pages
def test_every_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", (ROOT / page).read_text())
    made = MADE if page.parent == Path("docs") else set()
    here = [link for link in links if "://" not in link and link not in made]
    assert [link for link in here if not (ROOT / page.parent / link).exists()] == []


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        ("fly", "no command 'fly'"),
        ("env fly", "no command 'fly'"),
        ("report", "Missing argument 'RUN'"),
        ("report runs/mine one self-contained page", "unexpected extra arguments"),
        ("replay runs/mine --steps 3", "No such option"),
        ("climb configs/quickstart.toml start, or resume", "'start,' is not an option"),
        ("climb configs/mine.toml --learner.learning_rat 1", "learner.learning_rat"),
        ("climb configs/mine.toml --learner.learning_rate", "has no value"),
        ("preference train FILE --onto BASE --out ckpt --num_stepz 5", "num_stepz"),
    ],
)
def test_what_munro_would_not_take_is_noticed(typed: str, why: str) -> None:
    assert why in refusal(Command(Path("a.md"), 1, ("munro", *typed.split())))


def test_what_munro_takes_is_let_through() -> None:
    for typed in (
        "--help",
        "env check my_env.py:MyEnv",
        "climb configs/mine.toml --env.args.path data/x.jsonl --dry-run",
        "climb configs/mine.toml --rewards.service.pools.code.workers 3",
    ):
        assert refusal(Command(Path("a.md"), 1, ("munro", *typed.split()))) == ""


def test_the_picture_of_the_house_shows_every_wing() -> None:
    (picture,) = [
        block.text for block in blocks(Path("docs/architecture.md")) if "envs/  " in block.text
    ]
    shown = set(re.findall(r"([a-z_]+)/", picture))
    wings = {
        path.name
        for room in MAY_IMPORT
        for path in (ROOT / room).iterdir()
        if path.is_dir() and path.name != "__pycache__"
    }
    assert (MAY_IMPORT.keys() | wings) - shown == set(), "draw it in docs/architecture.md"
    assert set(re.findall(r"^  ([a-z_]+)/", picture, re.MULTILINE)) <= wings
