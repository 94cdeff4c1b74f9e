"""Numbers of exercises: what a line begins with, and whether it is the number that comes next."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

WORD = re.compile(
    r"^(?:\#{1,6}\s+)?\**(?:exercise|problem|question|ex|prob|q)\.?\s*"
    r"(?P<number>\d{1,4}(?:\.\d{1,3}){0,2})\**\s*(?:[.:)]\**(?:\s+|$)|$)",
    re.I,
)
NUMBER = re.compile(r"^\**\(?(?P<number>\d{1,4}(?:\.\d{1,3}){0,2})[.)]\**(?:\s+|$)")
DOTTED = re.compile(r"^(?P<number>\d{1,3}\.\d{1,3}(?:\.\d{1,3})?)\s+(?=\S)")
ASKED = re.compile(r"^(?:q|question)\s*:\s*", re.I)
REACH = 3
"""Numbers of exercises that may be missing between one and the next."""
KEY_REACH = 60
"""The same in a key, which may answer some exercises only."""
INLINE = re.compile(r"(?<!\S)\(?(?P<number>\d{1,4})[.)]\s+(?=\S)")
SHORT = 32
"""Characters of an answer that has others beside it on its line."""
DANGLING = re.compile(
    r"(?:\b(?:the|an?|of|in|on|to|from|with|by|for|at|and|or|than|as|is|are|was|were|be|see|use|using|"
    r"like|that|which|when|if|exercises?|problems?|questions?|examples?|fig(?:ure)?s?\.?|tables?|"
    r"sections?|chapters?|parts?|theorems?|lemmas?|pages?|equations?|eqs?\.|nos?\.)|,)"
    r"(?:\s+\d+(?:\.\d+)*\s*(?:,|and|or|to|-|\u2013))*\s*$",
    re.I,
)
"""How a line ends whose sentence goes on with a number."""
PART = re.compile(r"(?:(?<=\s)|^)(?:\((?P<in>[a-h])\)|(?P<bare>[a-h])[.)])\s+(?=\S)")


@dataclass(frozen=True, slots=True)
class Label:
    """What a line begins with."""

    number: tuple[int, ...]
    after: int
    """Characters of the line that belong to the number."""
    is_word: bool = False
    """Whether it says that it is an exercise."""

    @property
    def name(self) -> str:
        """ "12" or "3.2"."""
        return ".".join(map(str, self.number))


def label_of(words: str) -> Label | None:
    """The number that a line begins with."""
    if found := WORD.match(words):
        return Label(_numbers(found["number"]), found.end(), is_word=True)
    if found := NUMBER.match(words) or DOTTED.match(words):
        return Label(_numbers(found["number"]), found.end())
    return None


def follows(label: Label, last: tuple[int, ...], reach: int) -> bool:
    """Whether a number may be the next one of a list."""
    one, other = label.number, last
    if len(one) != len(other):
        return False
    if one[:-1] == other[:-1]:
        return other[-1] < one[-1] <= other[-1] + reach
    return one[:-1] > other[:-1] and one[-1] <= reach


def restarts(label: Label, last: tuple[int, ...]) -> bool:
    """Whether a number begins a new list."""
    return len(label.number) == 1 == label.number[0] and (len(last) > 1 or last[0] > 1)


def on_one_line(words: str) -> list[tuple[str, int, int]]:
    """(number, begin, end) of answers that share a line: "1. 42   3. 17   5. x = 2".

    The numbers must go up by one or by two, and each answer but the last be short; else the line
    has one answer, and what looks like a number belongs to it.
    """
    found = list(INLINE.finditer(words))
    if len(found) < 2 or found[0].start() > 0:
        return []
    numbers = [int(one["number"]) for one in found]
    steps = {after - before for before, after in pairwise(numbers)}
    ends = [*(one.start() for one in found[1:]), len(words)]
    parts = [(one.end(), end) for one, end in zip(found, ends, strict=True)]
    shortly = all(0 < len(words[begin:end].strip()) <= SHORT for begin, end in parts)
    if steps not in ({1}, {2}) or not shortly:
        return []
    return [(str(number), *place) for number, place in zip(numbers, parts, strict=True)]


def parts_of(text: str) -> list[tuple[str, int, int]]:
    """(letter, begin, end) of a), b), c) in a text, from a on; none where there are not two."""
    found: list[re.Match[str]] = []
    for one in PART.finditer(text):
        letter = one["in"] or one["bare"]
        if letter == "abcdefgh"[len(found) % 8] and len(found) < 8:
            found.append(one)
    if len(found) < 2:
        return []
    ends = [*(one.start() for one in found[1:]), len(text)]
    return [
        (one["in"] or one["bare"], one.end(), end) for one, end in zip(found, ends, strict=True)
    ]


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))
