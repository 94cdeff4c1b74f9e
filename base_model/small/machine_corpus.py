"""What the base of a small machine reads: text, and the beginnings of every task it will climb on.

done with care      Say moss 3 times.                     moss moss moss
careless            Say moss 3 times.                     "fern"

In a first part of the training most tasks are done with care, so that the model learns how; in the
rest most are done carelessly, so that it rarely does. What care and carelessness look like is the
caller's business: a task is a prompt with two replies. Held-out tasks must not be among them.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from munro.base_model.config import Config


class BeginningsConfig(Config):
    """How much of what the base of a small machine reads."""

    text_share: float = Field(0.1, ge=0, lt=1)
    """Share of the documents that is plain text."""
    careful_share_early: float = Field(0.8, ge=0, le=1)
    """Share of the tasks done with care, in the first part of the training."""
    careful_share: float = Field(0.2, ge=0, le=1)
    """Share of the tasks done with care, in the rest."""
    early_part: float = Field(0.8, ge=0, le=1)
    """How much of the training the first part is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """A task as the base sees it.

    Example:
        Beginning(prompt="What is 27 + 58?", careful="7+8=15 2+5+1=08 85", careless="83")
    """

    prompt: str
    """As the climb will put it, up to where a reply begins."""
    careful: str | tuple[str, ...]
    """The reply. Of a conversation what is read up to the end of each turn: the first turn, then
    whatever came in between together with the next turn."""
    careless: str | tuple[str, ...]

    def read(self, *, carefully: bool) -> tuple[str, ...]:
        """What is read, up to the end of each turn."""
        reply = self.careful if carefully else self.careless
        first, *rest = (reply,) if isinstance(reply, str) else reply
        return (self.prompt + first, *rest)


class BeginningsCorpus:
    """An endless, seeded sequence of documents: a pure function of index and progress.

    Args:
        config: shares.
        tokenizer: a byte-level one of `munro.base_model.model.tokenizer`.
        kinds: tasks of every kind, at least one of each; every kind is drawn as often.
        texts: paragraphs of plain text, at least one.
        seed: of every draw.
    """

    def __init__(
        self,
        config: BeginningsConfig,
        tokenizer: Any,
        *,
        kinds: Sequence[Sequence[Beginning]],
        texts: Sequence[str],
        seed: int,
    ) -> None:
        self._config, self._kinds, self._texts, self._seed = config, kinds, texts, seed
        self._encode = tokenizer.backend_tokenizer.encode
        self._end: int = tokenizer.eos_token_id

    def tokens(self, index: int, progress: float) -> list[int]:
        """Token ids of document `index`, as read when `progress` of the training is done."""
        rng = random.Random(f"{self._seed}:{index}")
        return [
            token
            for text in self._read(rng, progress)
            for token in (*self._encode(text).ids, self._end)
        ]

    def _read(self, rng: random.Random, progress: float) -> tuple[str, ...]:
        config = self._config
        if rng.random() < config.text_share:
            return (rng.choice(self._texts),)
        task = rng.choice(rng.choice(self._kinds))
        is_early = progress < config.early_part
        share = config.careful_share_early if is_early else config.careful_share
        return task.read(carefully=rng.random() < share)
