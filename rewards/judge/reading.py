"""Where in a reply the JSON is: behind thoughts, inside a Markdown fence, and nowhere else.

Prose around JSON is not looked into: what stands there may be quoted from the response, and then it
is the response's verdict on itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

THOUGHT_MARKS = (
    "<think>",
    "</think>",
    "<thinking>",
    "</thinking>",
    "<thought>",
    "</thought>",
    "<reasoning>",
    "</reasoning>",
    "<seed:think>",
    "</seed:think>",
    "[THINK]",
    "[/THINK]",
)
"""Where judges think aloud. Broken in all that they are shown, so that what they copy ends no
thoughts of theirs."""
CLOSED = re.compile(r"</(?:think|thinking|thought|reasoning|seed:think)>|\[/THINK\]")
AS_TOKENS = "<|END_THINKING|>"
"""The same as a chat token (Cohere's), which does not survive defusing."""
FENCED = re.compile(
    r"(?P<mark>`{3,}|~{3,}|`)[^\S\n]*(?:json[a-z0-9]*|javascript|js|text)?\s*(?P<inside>.*?)\s*"
    r"(?:(?P=mark))?",
    re.DOTALL | re.IGNORECASE,
)


def said(text: str) -> str:
    """A judge's own text, before it is defused."""
    return text.replace(AS_TOKENS, "</think>")


def candidates(reply: str) -> Iterator[str]:
    """What of a reply may be the JSON: all of it, else what follows its last thought."""
    whole = reply.strip().removeprefix("\ufeff").strip()
    yield _unfenced(whole)
    ends = [match.end() for match in CLOSED.finditer(whole)]
    if ends:
        yield _unfenced(whole[ends[-1] :].strip())


def _unfenced(text: str) -> str:
    fenced = FENCED.fullmatch(text) if text.startswith(("`", "~")) else None
    return fenced["inside"] if fenced else text
