"""A conversation as the one text that a preference model reads before the candidates.

A lone message is its text; of several, each begins with its role. What a model is trained on and
what it is asked in a climb go through here, so they look alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

ROLES = ("system", "developer", "user", "assistant", "tool")


def context_of(messages: Sequence[Mapping[str, Any]]) -> str:
    """The messages as one text.

    Args:
        messages: [{role, content}], as `messages_of` checks them.

    Example:
        context_of([{"role": "user", "content": "Hi!"}])  # "Hi!"
    """
    if len(messages) == 1:
        return content_of(messages[0])
    return "\n\n".join(f"{message['role']}: {content_of(message)}" for message in messages)


def content_of(message: Mapping[str, Any]) -> str:
    """The text of a message, be it a list of parts of text.

    Raises:
        ValueError: it holds something else.
    """
    content = message.get("content")
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, Mapping)]
        if len(parts) == len(content) and all(isinstance(part, str) for part in parts):
            return "".join(map(str, parts))
    if not isinstance(content, str | None):
        raise ValueError("the content of a message is no text")
    return content or ""


def messages_of(value: Any, what: str) -> list[Mapping[str, Any]]:
    """A list of messages.

    Args:
        value: what stands there.
        what: how the sentence calls it.

    Raises:
        ValueError: it is something else.
    """
    if not isinstance(value, list) or not value:
        raise ValueError(f"{what} is no list of messages {{role, content}}")
    for number, message in enumerate(value, 1):
        if not isinstance(message, Mapping) or message.get("role") not in ROLES:
            raise ValueError(
                f"message {number} of {what} is no {{role, content}} with a role of "
                f"{', '.join(ROLES)}"
            )
        content_of(message)
    return value
