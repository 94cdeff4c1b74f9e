"""How IFBench takes a text apart, in linear time: bare words, sentences, tokens."""

from __future__ import annotations

import re
import string

from munro.rewards.instructions.words import ABBREVIATIONS, CONTRACTION

STRIPPED = string.punctuation + " "
_BARE = str.maketrans("", "", string.punctuation)

MARK = re.compile(r"\.{2,}|[.?!]")
HELD = (
    re.compile(r"(?:Mrs|Mr|Ms|Dr|St)(\.)"),
    re.compile(r"(\.)(?:com|net|org|io|gov|edu|me)"),
    re.compile(r"(?<=[0-9])(\.)(?=[0-9])"),
    re.compile(r"Ph(\.)D(\.)"),
    re.compile(r"(?<=\s)[A-Za-z](\.)|\A[A-Za-z](\.)"),
    re.compile(r"[A-Za-z](\.)[A-Za-z](\.)(?:[A-Za-z](\.))?"),
    re.compile(r" (?:Inc|Ltd|Jr|Sr|Co)(\.)"),
)
"""Dots that end no sentence: titles, addresses, decimals, initials, abbreviations, companies."""
STARTER = (
    r"(?:Mrs|Mr|Ms|Dr|Prof|Capt|Cpt|Lt|Wherever"
    r"|(?:He|She|It|They|Their|Our|We|But|However|That|This)\s)"
)
"""Words that begin a sentence even behind such a dot."""
ENDS = re.compile(rf"(?:[A-Z]\.[A-Z](?:\.[A-Z])?|\s(?:Inc|Ltd|Jr|Sr|Co))(?P<dot>\.)(?= {STARTER})")
QUOTES = {".": '"”', "?": '"', "!": '"'}
"""What may follow a mark and still belong to its sentence."""

APART = re.compile(r"\.\.\.|--|[;@#$%&?!()\[\]{}<>\"“”‘`]|[,:](?!\d)")  # noqa: RUF001
BEHIND = "'’.,:"  # noqa: RUF001
CLOSERS = "])}>\"'»”’"  # noqa: RUF001


def bare(text: str) -> str:
    """The text without ASCII punctuation: "3.14" is one number, "don't" one word."""
    return text.translate(_BARE)


def bare_words(text: str) -> list[str]:
    """Words between spaces, punctuation left out; what is nothing else is no word."""
    return bare(text).split()


def stripped_words(text: str) -> list[str]:
    """Words between spaces, punctuation left out at both ends only: "don't" keeps its own."""
    return [word for each in text.split() if (word := each.strip(STRIPPED))]


def sentences(text: str) -> list[str]:
    """Sentences by every closing mark: a line break ends none, "?!" ends two, "1." ends one.

    A double quotation mark behind the mark is taken into the sentence, before the mark.
    """
    text = text.replace("\n", " ")
    held = {
        match.start(number)
        for pattern in HELD
        for match in pattern.finditer(text)
        for number in range(1, pattern.groups + 1)
    }
    held -= {match.start("dot") for match in ENDS.finditer(text)}
    found, start = [], 0
    for match in MARK.finditer(text):
        mark, end = match[0], match.end()
        if match.start() < start or (mark == "." and match.start() in held):
            continue
        if text[end : end + 1] and text[end] in QUOTES.get(mark, ""):
            found.append(f"{text[start : match.start()]}{text[end]}{mark}".strip())
            end += 1
        else:
            found.append(text[start:end].strip())
        start = end
    rest = text[start:].strip()
    return [*found, rest] if rest else found


def tokens(text: str) -> list[str]:
    """Words and marks as the Penn Treebank parts them, the full stop of a sentence on its own."""
    found: list[str] = []
    chunks = text.split()
    for place, chunk in enumerate(chunks):
        found += _parted(chunk, is_last=place == len(chunks) - 1)
    return found


def _parted(chunk: str, *, is_last: bool) -> list[str]:
    """The tokens of what stands between two spaces."""
    found, start = [], 0
    for match in APART.finditer(chunk):
        if match.start() > start:
            found += _word(chunk[start : match.start()], is_last=is_last and _closes(chunk, match))
        found.append(match[0])
        start = match.end()
    if start < len(chunk):
        found += _word(chunk[start:], is_last=is_last)
    return found


def _closes(chunk: str, match: re.Match[str]) -> bool:
    """Does nothing but closing marks follow from here on?"""
    return not chunk[match.start() : match.start() + 20].strip(CLOSERS)


def _word(word: str, *, is_last: bool) -> list[str]:
    """A word without its quotation marks and its sentence's full stop, contractions parted."""
    inner = word.lstrip("'")
    lead = len(word) - len(inner)
    if lead and CONTRACTION.match(word, lead - 1):
        lead -= 1
    inner = word[lead:].rstrip(BEHIND)
    end = lead + len(inner)
    if word[end : end + 1] == "." and not _stops(inner, is_last):
        end += 1
    parts = [part for part in CONTRACTION.split(word[lead:end]) if part]
    return [*word[:lead], *parts, *word[end:]]


def _stops(word: str, is_last: bool) -> bool:
    """Is the dot behind this word a full stop? One behind an abbreviation is, at the very end."""
    return is_last or not (word.lower() in ABBREVIATIONS or (len(word) == 1 and word.isalpha()))
