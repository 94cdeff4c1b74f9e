"""What every template is asked for: a prompt, what follows a turn, what ends one."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from munro.envs.types import Message
from munro.rollout.render.inert import Inert

OPEN_THOUGHT = "<think>"
TAIL = 16
"""Tokens at the end of a prompt that are read to see whether it opened a thought."""


class BadTemplate(ValueError):
    """A conversation that a template cannot show as it is; one sentence with the way out."""

    is_sentence = True


class Renderer(ABC):
    """One template on one tokenizer."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.notes: tuple[str, ...] = ()
        """What a person should know of how conversations are rendered."""
        self._inert = Inert(tokenizer)
        eos = tokenizer.eos_token_id
        self.stop_token_ids: tuple[int, ...] = ()
        """Tokens that end a policy turn; the last one is what the template itself would put."""
        self._stop_at(*generation_ends(tokenizer.name_or_path), *([] if eos is None else [eos]))

    @abstractmethod
    def opening(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()
    ) -> list[int]:
        """Tokens of the prompt, up to where the policy starts to write.

        Raises:
            BadTemplate: the template would drop some of it, or refuses it.
        """

    @abstractmethod
    def observed(
        self,
        messages: Sequence[Message],
        observations: Sequence[Message],
        *,
        last_token: int,
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> list[int]:
        """Tokens between the policy's turn and its next one.

        Args:
            messages: everything so far, the policy's turn last.
            observations: what it sees next.
            last_token: the last token of the policy's turn, so that a turn that ended by an
                end-of-turn token does not get a second one.
            tools: as given to `opening`.

        Raises:
            BadTemplate: the template would drop some of it, or refuses it.
        """

    def reread(
        self,
        messages: Sequence[Message],  # noqa: ARG002 - most templates only add
        observations: Sequence[Message],  # noqa: ARG002
        *,
        turns: Mapping[int, Sequence[int] | NDArray[np.int32]],  # noqa: ARG002
        tools: Sequence[Mapping[str, Any]] = (),  # noqa: ARG002
    ) -> list[int] | None:
        """What the next turn reads in place of what was read and written so far.

        Args:
            messages: everything so far, the policy's turn last.
            observations: what it sees next; `observed` says with which tokens.
            turns: token ids of each policy turn, by its message's place in `messages`.
            tools: as given to `opening`.

        Returns:
            None where all stands as it was, so that `observed` follows it. Else the tokens up to
            the end of the policy's last turn, from a template that rewrites earlier turns: one
            that leaves out their thoughts, say.

        Raises:
            BadTemplate: as `observed`; or it shows earlier turns in a way that cannot be told.
        """
        return None

    def text(self, token_ids: Sequence[int] | NDArray[np.int32]) -> str:
        """What the policy wrote in one turn, without the token that ended it."""
        return self._decode(self._unended(token_ids))

    def _decode(self, ids: Sequence[int]) -> str:
        decoded: str = self._tokenizer.decode(
            list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return decoded

    def _unended(self, token_ids: Sequence[int] | NDArray[np.int32]) -> list[int]:
        """A turn without the token that ended it."""
        ids = [int(token) for token in token_ids]
        if ids and ids[-1] in self.stop_token_ids:
            ids.pop()
        return ids

    def said(self, token_ids: Sequence[int] | NDArray[np.int32], before: Sequence[int]) -> str:
        """The turn's text as graders see it: with `<think>` in front where the prompt opened it.

        Args:
            token_ids: of the turn.
            before: the stream that it continues.
        """
        opened = self.text(before[-TAIL:]).rstrip().endswith(OPEN_THOUGHT)
        text = self.text(token_ids)
        return OPEN_THOUGHT + text if opened else text

    def closed(self, ids: list[int]) -> list[int]:
        """What follows a turn that was cut: with the token that ends one in front, where the
        template does not put it there itself."""
        if not self.stop_token_ids or (ids and ids[0] in self.stop_token_ids):
            return ids
        return [self.stop_token_ids[-1], *ids]

    def count(self, text: str) -> int:
        """Tokens of a text by itself."""
        return len(self._encode_inert(text))

    def _encode_inert(self, text: str) -> list[int]:
        """Tokens of a text, none of which means something."""
        mark = self._inert.mark([text])
        return self._encode(self._inert.broken(text, mark), mark)

    def _stop_at(self, *ids: int) -> None:
        """Let these end turns too; what is named last stands last."""
        everything = (*self.stop_token_ids, *ids)
        self.stop_token_ids = tuple(dict.fromkeys(reversed(everything)))[::-1]

    def _encode(self, text: str, mark: str = "") -> list[int]:
        """Tokens of a text, piece by piece between marks."""
        pieces = text.split(mark) if mark else [text]
        return [
            token
            for piece in pieces
            for token in self._tokenizer.encode(piece, add_special_tokens=False)
        ]

    def _encode_start(self, text: str, mark: str = "") -> list[int]:
        """With what the tokenizer puts before a text (often a BOS), without what it puts after."""
        first, _, rest = text.partition(mark) if mark else (text, "", "")
        ids: list[int] = self._tokenizer.encode(first)
        while ids and ids[-1] in self.stop_token_ids:
            ids.pop()
        return ids + self._encode(rest, mark)


def generation_ends(folder: str) -> tuple[int, ...]:
    """The tokens that a checkpoint's generation_config.json ends a text at; none where it has none.

    Raises:
        BadTemplate: the file is there and cannot be read.
    """
    path = Path(folder or ".") / "generation_config.json"
    if not folder or not path.is_file():
        return ()
    try:
        named = json.loads(path.read_text()).get("eos_token_id")
    except (OSError, ValueError, AttributeError) as error:
        raise BadTemplate(f"{path} cannot be read: {error}") from error
    ends = named if isinstance(named, list) else [named]
    return tuple(end for end in ends if isinstance(end, int) and not isinstance(end, bool))
