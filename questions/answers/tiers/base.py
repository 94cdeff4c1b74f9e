"""What every tier can do: reply to texts, or say why it did not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One attempt at a question.

    Example:
        Ask(text="What is 1 + 1?", number=0)
    """

    text: str
    number: int
    """Which of the attempts at it, from 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """An attempt that says nothing about the question."""

    why: str
    may_pass: bool
    """Whether the same attempt may succeed later."""
    wait_s: float = 0.0
    """What a service asked for."""


Answered = str | Failed
OnReply = Callable[[Ask, str], None]


class Tier(Protocol):
    """A model that replies."""

    where: str
    """For messages."""

    def key(self, ask: Ask) -> str:
        """A digest of all that its reply depends on."""
        ...

    def replies(self, asks: Sequence[Ask], on_reply: OnReply) -> list[Answered]:
        """A reply to each, in order; failures that may pass have been tried again.

        Args:
            asks: what to reply to.
            on_reply: told each reply as soon as it is there, by this thread.
        """
        ...

    def close(self) -> None:
        """Leave no process behind. Safe to call twice."""
        ...
