"""What the pages tell a person to type exists: commands, targets, recipes, files they link to."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from munro.machine.cli.main import munro

ROOT = Path(__file__).parents[1]
PAGES = [
    path.relative_to(ROOT)
    for folder in (".", "docs", "benchmarks")
    for path in sorted((ROOT / folder).glob("*.md"))
]
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def code(page: Path) -> list[str]:
    """What stands in code: every line of a fenced block, every span between backticks."""
    text = (ROOT / page).read_text()
    blocks = re.findall(r"```[a-z]*\n(.*?)```", text, re.DOTALL)
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    return [
        line.strip().removeprefix("$ ") for block in blocks for line in block.split("\n")
    ] + spans


def exists(words: list[str], command: click.Command = munro) -> bool:
    """Whether these words after `munro` name a command, down to the last group."""
    if not isinstance(command, click.Group) or not words or not re.fullmatch(r"[a-z-]+", words[0]):
        return True
    return words[0] in command.commands and exists(words[1:], command.commands[words[0]])


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_command_exists(page: Path) -> None:
    commands = [line.split()[1:] for line in code(page) if re.match(r"munro [a-z]", line)]
    assert [words for words in commands if not exists(words)] == []


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_make_target_exists(page: Path) -> None:
    named = {line.split()[1] for line in code(page) if re.match(r"make [a-z]", line)}
    assert named - TARGETS == set()


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_recipe_and_script_exists(page: Path) -> None:
    # what is called "mine" stands for a file of the reader's own
    files = re.findall(
        r"\b(?:configs|benchmarks|docs)/(?!mine|my_)[\w/-]+\.(?:toml|py|md)", "\n".join(code(page))
    )
    assert [name for name in files if not (ROOT / name).is_file()] == []


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", (ROOT / page).read_text())
    here = [link for link in links if "://" not in link]
    assert [link for link in here if not (ROOT / page.parent / link).exists()] == []


def test_a_command_that_is_not_there_is_noticed() -> None:
    assert exists(["climb", "configs/quickstart.toml"])
    assert exists(["env", "check", "my_env.py:MyEnv"])
    assert not exists(["fly"])
    assert not exists(["env", "fly"])
