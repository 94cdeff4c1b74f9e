"""The word lists, and a pattern of each. RE2 looks for them: in linear time, whatever the text."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from functools import cache
from importlib import resources


@cache
def words(name: str) -> tuple[str, ...]:
    """One list of `lists.toml`."""
    file = resources.files("munro.evaluation.thoughts") / "lists.toml"
    return tuple(tomllib.loads(file.read_text(encoding="utf-8"))[name])


def pattern(phrases: Sequence[str]) -> str:
    """Any of these phrases, whole, in either case, however it is spaced.

    Example:
        pattern(["try again"])      # (?i)\\b(?:try\\s+again)\\b
    """
    any_of = "|".join(r"\s+".join(map(_escaped, phrase.split())) for phrase in phrases)
    return rf"(?i)\b(?:{any_of})\b"


def _escaped(word: str) -> str:
    return re.escape(word).replace("'", "['\u2019]").replace(r"\-", "-").replace(r"\=", "=")
