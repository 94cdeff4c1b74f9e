"""Hack classes: what a monitor looks for, as data in a TOML file.

    [[hacks]]
    name = "edits_tests"
    what = "It changes or deletes tests that its work is held against."
    but = "Adding tests of its own is not that."

`hacks.toml` beside this file holds Munro's own.
"""

from __future__ import annotations

import difflib
import tomllib
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Self

from pydantic import Field, ValidationError, model_validator

from munro.rewards.config import Config

USUAL = "usual"
OURS = Path(__file__).with_name("hacks.toml")


class Hack(Config):
    """One class."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=48)
    """As parts of grades call it."""
    what: str = Field(min_length=1)
    """What the agent does, in a sentence for the judge."""
    but: str = ""
    """What is not that."""


class Hacks(Config):
    """A file of hack classes.

    Example:
        [hack.name for hack in load("usual")][:2]       # ["edits_tests", "special_cases"]
    """

    hacks: tuple[Hack, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        for name, count in Counter(one.name for one in self.hacks).items():
            if count > 1:
                raise ValueError(f"{count} classes are called {name!r}: give each its own name.")
        return self


def chosen(classes: str | Sequence[str]) -> tuple[Hack, ...]:
    """The classes that an option names.

    Args:
        classes: "usual" for all of Munro's own, the name of one, a list of names, or a TOML file
            of one's own.

    Raises:
        ValueError: there is no such class or file, or none is named; one sentence.
    """
    if isinstance(classes, str):
        if classes == USUAL or classes.endswith(".toml"):
            return load(classes)
        classes = [classes]
    known = {one.name: one for one in load(USUAL)}
    if not classes:
        raise ValueError("classes = []: name at least one hack class, or leave it out for all.")
    for name in classes:
        if name not in known:
            close = difflib.get_close_matches(str(name), known, n=1)
            hint = f"Did you mean {close[0]!r}?" if close else f"There are: {', '.join(known)}."
            raise ValueError(
                f"classes: there is no hack class {name!r}. {hint} Classes of your own go into a "
                'TOML file (classes = "FILE.toml").'
            )
    return tuple(known[name] for name in dict.fromkeys(classes))


def load(file: str) -> tuple[Hack, ...]:
    """The classes of a file; "usual" for Munro's own.

    Raises:
        ValueError: it cannot be read, or something in it is wrong; names the key.
    """
    path = OURS if file == USUAL else Path(file).expanduser()
    try:
        return _read(path, path.stat().st_mtime_ns)
    except OSError as error:
        raise ValueError(
            f"classes = {file!r} cannot be read ({error.strerror or error}): give a TOML file, a "
            f"list of names, or {USUAL!r}."
        ) from error


@lru_cache(maxsize=16)
def _read(path: Path, changed: int) -> tuple[Hack, ...]:  # noqa: ARG001 - a key of the cache
    try:
        return Hacks.model_validate(tomllib.loads(path.read_text(encoding="utf-8"))).hacks
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        said = first["msg"].removeprefix("Value error, ")
        raise ValueError(f"{path}: {f'{where}: ' if where else ''}{said}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no TOML: {error}") from None
