"""TRL's, RewardBench's and most others': chosen and rejected, as texts or as messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from munro.rewards.preference.comparison import CHOSEN, REJECTED, Comparison
from munro.rewards.preference.context import context_of, messages_of
from munro.rewards.preference.form import Form, Row, context, subset, text

TURN = "\n\nAssistant:"
"""Where a response begins in conversations that are one text (Anthropic's HH)."""


class Trl(Form):
    """{"prompt", "chosen", "rejected"}: texts, or lists of messages. Without a prompt, it is what
    chosen and rejected begin with alike. "subset" names what the row is of."""

    columns = ("chosen", "rejected")

    def is_of(self, row: Row) -> bool:
        """Not where they are lists of texts, which RewardBench 2 has."""
        return super().is_of(row) and not _is_texts(row["chosen"])

    def read(self, row: Row) -> list[Comparison]:
        """One pair."""
        is_talk = [isinstance(row[name], list) for name in self.columns]
        if any(is_talk) != all(is_talk):
            raise ValueError("chosen and rejected are not alike: give two texts or two lists")
        asked, pair = _of_messages(row) if all(is_talk) else _of_texts(row)
        return [
            Comparison(
                context=asked, candidates=pair, scores=(CHOSEN, REJECTED), subset=subset(row)
            )
        ]


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, str) for one in value)


def _of_texts(row: Row) -> tuple[str, tuple[str, str]]:
    chosen, rejected = text(row, "chosen"), text(row, "rejected")
    if "prompt" in row:
        return context(row, "prompt"), (chosen, rejected)
    if chosen == rejected:
        raise ValueError("chosen equals rejected")
    num_alike = next(
        (at for at, (a, b) in enumerate(zip(chosen, rejected, strict=False)) if a != b),
        min(len(chosen), len(rejected)),
    )
    prefix = chosen[:num_alike]
    at = prefix.rfind(TURN)
    # the first word in which they differ is theirs, whatever it begins with
    end = at + len(TURN) if at >= 0 else max(map(prefix.rfind, " \n\t"))
    if end <= 0:
        raise ValueError("prompt is missing, and chosen and rejected begin with nothing alike")
    return prefix[:end], (chosen[end:].lstrip(), rejected[end:].lstrip())


def _of_messages(row: Row) -> tuple[str, tuple[str, str]]:
    chosen = messages_of(row["chosen"], "chosen")
    rejected = messages_of(row["rejected"], "rejected")
    if chosen == rejected:
        raise ValueError("chosen equals rejected")
    alike = 0
    while alike < min(len(chosen), len(rejected)) and chosen[alike] == rejected[alike]:
        alike += 1
    shared = chosen[:alike]
    pair = (_reply(chosen[alike:], "chosen"), _reply(rejected[alike:], "rejected"))
    prompt = row.get("prompt")
    if not prompt:
        if not shared:
            raise ValueError("prompt is missing, and chosen and rejected begin with nothing alike")
        return context_of(shared), pair
    if isinstance(prompt, list):
        before = messages_of(prompt, "prompt")
    else:
        before = [{"role": "user", "content": text(row, "prompt")}]
        if shared and shared[0]["role"] != "assistant":
            before = []  # some files say the prompt alone and the whole conversation beside it
    is_repeated = shared[: len(before)] == before
    return context_of([*(() if is_repeated else before), *shared]), pair


def _reply(messages: Sequence[Any], what: str) -> str:
    if not messages:
        raise ValueError(f"{what} ends where the other one goes on: it holds no response")
    return context_of(messages)
