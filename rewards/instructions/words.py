"""How a text falls into words, sentences and paragraphs, in linear time."""

from __future__ import annotations

import re

WORD = re.compile(r"\w+")
TOKEN = re.compile(r"\w+(?:['’-]\w+)*")  # noqa: RUF001 - typographic apostrophes are text
SENTENCE_END = re.compile(r"[.!?。！？]+[\"'”’)\]]{0,3}(?=\s|\Z)|[。！？]+")  # noqa: RUF001
ABBREVIATIONS = frozenset(
    {"mr", "mrs", "ms", "dr", "prof", "st", "vs", "etc", "e.g", "i.e", "fig", "eq", "approx", "jr"}
)


def words(text: str) -> list[str]:
    """Runs of word characters, as IFEval counts them: "don't" is two."""
    return WORD.findall(text)


def tokens(text: str) -> list[str]:
    """Words with their apostrophes and hyphens."""
    return TOKEN.findall(text)


def sentences(text: str) -> list[str]:
    """Sentences by their closing marks; a heading or list item without one ends with its line."""
    found: list[str] = []
    for line in text.split("\n"):
        start = 0
        for match in SENTENCE_END.finditer(line):
            if match[0] == "." and _is_abbreviated(line[start : match.start()]):
                continue
            found.append(line[start : match.end()].strip())
            start = match.end()
        found.append(line[start:].strip())
    return [sentence for sentence in found if WORD.search(sentence)]


def _is_abbreviated(before: str) -> bool:
    last = before.rsplit(maxsplit=1)[-1:] or [""]
    word = last[0].lstrip("(\"'").lower()
    return word in ABBREVIATIONS or (len(word) == 1 and word.isalpha() and last[0].isupper())
