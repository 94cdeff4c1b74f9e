"""What a heading announces: a chapter, exercises, answers, or something else."""

from __future__ import annotations

import re
from dataclasses import dataclass

CHAPTER = re.compile(
    r"^(?P<kind>chapter|unit|lesson|lecture|module|topic|appendix|part)\s+"
    r"(?P<number>\d{1,3}|[ivxlc]{1,7}\b|[a-z]\b)(?P<title>[\s.:\u2013\u2014-]*.{0,80})$",
    re.I,
)
AFTER_CHAPTER = re.compile(r"^[\s.:\u2013\u2014-]*(?:[A-Z\d\"'(\u201c].*)?$")
SECTION = re.compile(r"^\d{1,3}(?:\.\d{1,3}){1,2}\.?\s+[A-Z][^.?!=:]{2,70}$")
EXERCISES = re.compile(
    r"^(?:\d+(?:\.\d+)*\.?\s+)?(?:(?:chapter|section|unit)\s+[\w.]{1,8}\s*[:.\u2013-]?\s*)?"
    r"(?:(?:end[- ]of[- ]chapter|review|practice|additional|supplementary|conceptual|more|"
    r"further|mixed|selected)\s+){0,3}"
    r"(?:exercises|exercise set|problems|problem set|questions|homework|quiz|self[- ]test|"
    r"test yourself|practice)"
    r"(?:\s+(?:(?:for|of|on|to|in)\s+)?(?:(?:chapter|section|unit)\s+)?(?P<id>[\divxlc.]{1,8}))?\s*:?$",
    re.I,
)
ANSWERS = re.compile(
    r"^(?:\d+(?:\.\d+)*\.?\s+)?(?:(?:chapter|section|unit)\s+(?P<of>[\w.]{1,8})\s*[:.\u2013-]?\s*)?"
    r"(?:(?:selected|short|numerical|brief|complete|final)\s+){0,2}"
    r"(?:answers|solutions|answer key|hints and answers|answers and hints|key)"
    r"(?:\s+(?:and\s+hints|key|to|for)\b(?P<to>.{0,60}?))?\s*:?$",
    re.I,
)
OF_CHAPTER = re.compile(r"\b(?:chapter|unit|lesson|lecture|module)\s+([\w.]{1,8})", re.I)
MARKDOWN = re.compile(r"^#{1,6}\s+")
EMPHASIS = re.compile(r"^\*{1,2}(.+?)\*{1,2}:?$")


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading that parts a book."""

    kind: str
    """chapter, exercises, answers, or other."""
    name: str = ""
    """Of a chapter "chapter 2"; of exercises their number; of answers the chapter they are for."""


def heading_of(words: str, *, is_named: bool) -> Heading | None:
    """What a line announces, or None where it is no heading.

    Args:
        words: of the line.
        is_named: whether the format itself calls it a heading.
    """
    words = MARKDOWN.sub("", words)
    if bold := EMPHASIS.match(words):
        words = bold[1]
    if len(words) <= 100:
        if found := ANSWERS.match(words):
            return Heading("answers", _chapter_in(found))
        if found := EXERCISES.match(words):
            return Heading("exercises", (found["id"] or "").rstrip(".").casefold())
        if (found := CHAPTER.match(words)) and _is_title(found["title"], is_named=is_named):
            kind = found["kind"].casefold()
            if kind != "part" or found["number"].isdigit() or found["number"].isupper():
                return Heading("chapter", f"{kind} {found['number'].casefold()}")
    return Heading("other") if is_named else None


def is_section(words: str) -> bool:
    """Whether a line looks like "3.2 Waves on a string"."""
    return SECTION.match(words) is not None


def _is_title(rest: str, *, is_named: bool) -> bool:
    return is_named or (AFTER_CHAPTER.match(rest) is not None and not rest.rstrip().endswith("."))


def _chapter_in(found: re.Match[str]) -> str:
    if found["of"]:
        return f"chapter {found['of'].rstrip('.').casefold()}"
    if found["to"] and (named := OF_CHAPTER.search(found["to"])):
        return f"chapter {named[1].rstrip('.').casefold()}"
    return ""
