"""Names of models taken out of answers, so that nobody knows whose he reads."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from functools import cache
from importlib import resources

INSTEAD = "[name]"
LEAST = 3
"""Letters of a name; a shorter one stands in too many other words."""
FEW_WORDS = r"(?:\s+(?:an?|the|called|named)){0,2}\s+"


def distinctive(name: str) -> list[str]:
    """What of a model's path or name an answer might say: the whole of it, and its last part.

    Example:
        distinctive("checkpoints/acme/Larch-7B")      # ["checkpoints/acme/Larch-7B", "Larch-7B"]
    """
    parts = [name, name.rstrip("/").rpartition("/")[2]]
    return [part for part in dict.fromkeys(parts) if len(part) >= LEAST and not part.isdigit()]


class Stripper:
    """Takes names out of a text.

    Args:
        names: of this study's models and their makers, taken out wherever they stand.

    Example:
        Stripper(["Larch-7B"])("I am Larch-7B.")       # ("I am [name].", 1)
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        given = [part for name in names for part in distinctive(name)]
        always = _any([*given, *_lists()["always"]])
        itself = _any(_lists()["of_itself"])
        before = _any(_lists()["before"])
        self._always = re.compile(rf"(?<!\w){always}(?!\w)", re.IGNORECASE)
        # the name with its capital: "as meta" is no company; "I am" may open a sentence or not
        self._itself = re.compile(rf"(?<!\w)((?i:{before}){FEW_WORDS}){itself}(?!\w)")

    def __call__(self, text: str) -> tuple[str, int]:
        """The text without names, and how many were taken out."""
        text, many = self._always.subn(INSTEAD, text)
        text, more = self._itself.subn(rf"\g<1>{INSTEAD}", text)
        return text, many + more


@cache
def _lists() -> dict[str, list[str]]:
    file = resources.files("munro.evaluation.sides") / "names.toml"
    return tomllib.loads(file.read_text(encoding="utf-8"))


def _any(words: Iterable[str]) -> str:
    """Any of these, the longest first, however they are spaced."""
    longest = sorted(set(words), key=lambda word: (-len(word), word))
    return "(?:" + "|".join(r"\s+".join(map(re.escape, word.split())) for word in longest) + ")"
