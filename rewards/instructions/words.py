"""How a text falls into words, sentences and bullet points, in linear time."""

from __future__ import annotations

import re

WORD = re.compile(r"\w+")
TOKEN = re.compile(r"\w+(?:[.'’-]\w+)*")  # noqa: RUF001 - typographic apostrophes are text
CONTRACTION = re.compile(r"(?=n['’]t\Z|['’](?:s|m|d|ll|re|ve)\Z)", re.IGNORECASE)  # noqa: RUF001
MARK = re.compile(r"([.!?]+)([\"'”’)\]*_]{0,4})(?=\s|\Z)|[。！？]+")  # noqa: RUF001
OPENING = "(\"'“‘"  # noqa: RUF001
QUOTES = frozenset("\"'”’")  # noqa: RUF001
NEXT = re.compile(r"\s*[\"'“‘(\[*_]{0,4}(\S?)")  # noqa: RUF001
ABBREVIATIONS = frozenset(
    """mr mrs ms dr prof sen rep gen col sgt capt lt maj gov rev hon st ave blvd mt ft vs etc fig eq
    no vol pp approx dept est inc ltd co corp jr sr jan feb mar apr jun jul aug sep sept oct nov dec
    e.g i.e a.m p.m u.s u.k u.n ph.d b.c a.d d.c""".split()  # noqa: SIM905
)
TITLES = frozenset(
    "mr mrs ms dr prof sen rep gen col sgt capt lt maj gov rev hon st".split()  # noqa: SIM905
)
"""Abbreviations that a name follows, so a capital behind them begins nothing."""


def words(text: str) -> list[str]:
    """Runs of word characters, as IFEval counts them: "don't" is two."""
    return WORD.findall(text)


def tokens(text: str) -> list[str]:
    """Words as the Penn Treebank parts them: "P.S" and "well-known" are one, "don't" is do, n't."""
    return [part for word in TOKEN.findall(text) for part in CONTRACTION.split(word) if part]


def sentences(text: str) -> list[str]:
    """Sentences by their closing marks, as IFEval counts them: a line break ends none."""
    found: list[str] = []
    start = 0
    for match in MARK.finditer(text):
        if _goes_on(text, start, match):
            continue
        found.append(text[start : match.end()].strip())
        start = match.end()
    found.append(text[start:].strip())
    return [sentence for sentence in found if WORD.search(sentence)]


def _goes_on(text: str, start: int, match: re.Match[str]) -> bool:
    """Does the sentence go on behind this mark?"""
    following = NEXT.match(text, match.end())
    after = following[1] if following else ""
    marks, closers = match[1] or "", match[2] or ""
    if after.islower() and (QUOTES & set(closers) or set(marks[1:]) == {"."}):
        return True  # '"Stop!" she said.', "well... no"
    if marks != ".":
        return False
    line = text[max(start, match.start() - 20) : match.start()].rpartition("\n")[2]
    last = (line.split() or [""])[-1].lstrip(OPENING)
    word = last.lower()
    if len(word) == 1 and word.isalpha() and (last.isupper() or after.islower()):
        return True  # J. K. Rowling
    if word.isdigit() and line.strip() == word:
        return True  # the number of a list's item
    return word in ABBREVIATIONS and (word in TITLES or not after.isupper())
