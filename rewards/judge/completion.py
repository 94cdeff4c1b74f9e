"""What a service sent back: a completion's text and counts, or its own words on what went wrong."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

QUOTED_CHARS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """One answer.

    Example:
        completion_of('{"choices": [{"message": {"content": "yes"}}]}').text    # "yes"
    """

    text: str
    """What was said; "" for nothing."""
    was_cut: bool = False
    """The cap on tokens ended it."""
    was_filtered: bool = False
    """The service ended it for what it holds."""
    tokens_in: int = 0
    tokens_out: int = 0


def completion_of(body: str) -> Completion:
    """The first choice of a chat completion. Nothing in it is taken for granted.

    Raises:
        ValueError: there is no message in it; says what the service says instead.
    """
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        raise ValueError("an answer that is no chat completion") from None
    choices = answer.get("choices") if isinstance(answer, Mapping) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choice, Mapping):
        raise ValueError(_instead(answer))
    why = choice.get("finish_reason")
    message = choice.get("message")
    if not isinstance(message, Mapping):
        blamed = f" (finish_reason {why!r:.40})" if why else ""
        raise ValueError(
            _instead(choice) if choice.get("error") else f"an answer without a message{blamed}"
        )
    usage = answer.get("usage")
    return Completion(
        text=_text(message.get("content")) or _text(message.get("refusal")),
        was_cut=why == "length",
        was_filtered=why == "content_filter",
        tokens_in=_count(usage, "prompt_tokens"),
        tokens_out=_count(usage, "completion_tokens"),
    )


def reason_in(body: str) -> str:
    """What a service says went wrong: the message in its JSON, or its first words."""
    try:
        return _said(json.loads(body)) or one_line(body) or "no reason given"
    except (ValueError, RecursionError):
        return one_line(body) or "no reason given"


def one_line(text: str) -> str:
    """One short line."""
    return " ".join(text.split())[:QUOTED_CHARS]


def _instead(answer: Any) -> str:
    said = _said(answer)
    return f"an error with status 200: {said}" if said else "an answer that is no chat completion"


def _said(answer: Any) -> str:
    """The words of an error, wherever services put them."""
    while isinstance(answer, Mapping):
        answer = next(
            (answer[key] for key in ("error", "message", "detail") if answer.get(key)), None
        )
    return one_line(str(answer)) if answer is not None and not isinstance(answer, list) else ""


def _text(content: Any) -> str:
    """A text, or the texts of a list of parts.

    Raises:
        ValueError: it is something else.
    """
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, Mapping)]
        if content and len(texts) == len(content) and all(isinstance(t, str) for t in texts):
            return "".join(map(str, texts))
    if content is None:
        return ""
    if not isinstance(content, str):
        raise ValueError("an answer that is no chat completion: its content is no text")
    return content


def _count(usage: Any, name: str) -> int:
    value = usage.get(name) if isinstance(usage, Mapping) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0
    if not abs(value) <= sys.float_info.max:  # a whole number may be too large for math.isfinite
        return 0
    return max(int(value), 0)
