"""What the pages print in code, as the tests read it.

A fence says what stands in it: nothing or `sh` for what is typed at a shell, `text` for what is
only looked at, `python`, `toml`, `json` for samples. After the language may follow the name of the
file that the sample is (`json results.jsonl`), or `sketch` where it speaks of things that the page
does not make, such as a judge on another host; renderers show neither. Every other Python sample
runs, and every command is run or, where it takes longer than a test may or speaks of a reader's own
runs, parsed by the command itself.
"""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [
    path.relative_to(ROOT)
    for folder in (".", "docs", "docs/scale", "benchmarks")
    for path in sorted((ROOT / folder).glob("*.md"))
]
TYPED = ("", "sh", "bash", "console")
PROGRAMS = re.compile(r"(?:\$ )?((?:munro|make|pip|python3?|\.venv/bin/\w[\w-]*) .*)")
FENCE = re.compile(r"^```([a-z]*)[ ]*([^\n]*)\n(.*?)^```", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, what else its fence says, and the line it begins at."""

    language: str
    note: str
    text: str
    line: int


@dataclass(frozen=True)
class Command:
    """A line of a page that a reader may type, in words as a shell would part them."""

    page: Path
    line: int
    words: tuple[str, ...]
    folder: str = ""
    """Where a `cd` before it in the same block has led."""
    block: int = 0
    """The line at which its block begins."""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {shlex.join(self.words)}"


def blocks(page: Path) -> list[Block]:
    text = (ROOT / page).read_text()
    return [
        Block(found[1], found[2].strip(), found[3], text.count("\n", 0, found.start()) + 2)
        for found in FENCE.finditer(text)
    ]


def words_of(line: str) -> tuple[str, ...]:
    """As a shell parts them; at blanks where a quote stays open, which no command survives."""
    try:
        return tuple(shlex.split(line, comments=True))
    except ValueError:
        return tuple(line.split())


def commands(page: Path) -> list[Command]:
    """Every line of a block that starts one of our programs, comments aside, parted at `&&`."""
    found = []
    for block in blocks(page):
        folder = ""
        for number, line in enumerate(block.text.split("\n") if block.language in TYPED else ()):
            if not (typed := PROGRAMS.fullmatch(line.strip())):
                continue
            for part in " ".join(map(quoted, words_of(typed[1]))).split(" && "):
                words = words_of(part)
                if words[0] == "cd":
                    folder = f"{folder}/{words[1]}".lstrip("/")
                    continue
                found.append(Command(page, block.line + number, words, folder, block.line))
    return found


def quoted(word: str) -> str:
    return word if word == "&&" else shlex.quote(word)


def spans(page: Path) -> list[Command]:
    """Commands that stand in the prose, between backticks."""
    text = (ROOT / page).read_text()
    prose = FENCE.sub(lambda block: "\n" * block[0].count("\n"), text)
    return [
        Command(page, prose.count("\n", 0, found.start()) + 1, words_of(found[1]))
        for found in re.finditer(r"`(?:\$ )?([^`\n]+)`", prose)
        if re.match(r"(munro|make|python) [a-z]", found[1])
    ]


def shown_files(page: Path) -> dict[str, str]:
    """Files that a page shows in full, by name."""
    return {
        block.note: block.text
        for block in blocks(page)
        if re.fullmatch(r"[\w./-]+\.\w+", block.note)
    }


def make_files(page: Path, folder: Path) -> None:
    """Put what a page shows where its commands look for it.

    A class that a command names by file is taken from the sample that defines it.
    """
    for name, text in shown_files(page).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    for command in commands(page):
        for word in command.words:
            file, _, name = word.partition(":")
            if not (file.endswith(".py") and name) or (folder / file).exists():
                continue
            for block in blocks(page):
                if block.language == "python" and f"class {name}(" in block.text:
                    (folder / file).write_text(block.text)


def is_json_lines(text: str) -> bool:
    try:
        return all(isinstance(json.loads(line), dict) for line in text.strip().split("\n"))
    except ValueError:
        return False
