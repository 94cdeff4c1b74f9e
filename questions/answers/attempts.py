"""k attempts at each question by each tier, from an address; what was answered is remembered.

An attempt that failed (no connection, time-out, a refusal of the service) is no wrong answer: it is
not graded, and a question with fewer graded attempts than were asked for gets no pass rate.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from munro.questions.answers.config import TierConfig
from munro.questions.errors import QuestionsError
from munro.rewards.errors import GraderError
from munro.rewards.judge.cache import VerdictCache
from munro.rewards.math import extract, verify_group


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """What a tier made of a question. A row of the stage `attempts`.

    Example:
        Attempts(id="rows.jsonl:1", tier="small", answers=("42", ""), passed=(1, 0), failed="")
    """

    id: str
    tier: str
    answers: tuple[str, ...]
    """Final answers of the attempts that were made, empty where there was none."""
    passed: tuple[int, ...]
    """1 for each that is the stored answer; empty where that cannot be read."""
    failed: str = ""
    """Why attempts are missing, or why none can be graded."""


def attempted(
    questions: Sequence[tuple[str, str, str]], tier: TierConfig, count: int, cache: str
) -> list[Attempts]:
    """Attempts at (id, question, answer), in their order.

    Raises:
        QuestionsError: the tier answers nothing at all, or its key is not set.
    """
    try:
        held = VerdictCache(Path(cache).expanduser()) if cache else None
    except ValueError as error:
        raise QuestionsError(str(error).replace("judge.cache", "cache")) from error
    try:
        replies = asyncio.run(_replies([text for _, text, _ in questions], tier, count, held))
    finally:
        if held is not None:
            held.close()
    some = [reply for group in replies for reply in group]
    if some and all(isinstance(reply, Exception) for reply in some):
        why = " ".join(str(some[0]).split())[:200]
        raise QuestionsError(
            f"tier {tier.name} at {tier.base_url} answers nothing ({why}): mend that; then the "
            "same command goes on."
        )
    return [
        _graded(name, answer, tier, group)
        for (name, _, answer), group in zip(questions, replies, strict=True)
    ]


def key_of(tier: TierConfig) -> str:
    """What the address asks for.

    Raises:
        QuestionsError: it is not set.
    """
    key = os.environ.get(tier.api_key_env, "") if tier.api_key_env else "none"
    if not key:
        raise QuestionsError(
            f"tier {tier.name}: api_key_env names {tier.api_key_env!r}, but this environment "
            "variable is empty. Set it to the key."
        )
    return key


def _graded(name: str, gold: str, tier: TierConfig, group: Sequence[str | Exception]) -> Attempts:
    made = [reply for reply in group if isinstance(reply, str)]
    failures = [reply for reply in group if isinstance(reply, Exception)]
    why = f"{len(failures)} failed: {failures[0]}"[:300] if failures else ""
    answers = tuple(_whole(extract(reply) or "") for reply in made)
    try:
        passed = tuple(int(bool(one.passed)) for one in verify_group(made, gold)) if made else ()
    except GraderError as error:
        passed, why = (), str(error)[:300]
    return Attempts(id=name, tier=tier.name, answers=answers, passed=passed, failed=why)


async def _replies(
    texts: Sequence[str], tier: TierConfig, count: int, cache: VerdictCache | None
) -> list[list[str | Exception]]:
    from openai import AsyncOpenAI, OpenAIError

    key = key_of(tier)
    places = asyncio.Semaphore(tier.concurrency)
    async with AsyncOpenAI(
        base_url=tier.base_url, api_key=key, timeout=tier.timeout_s, max_retries=tier.retries
    ) as client:

        async def one(text: str, number: int) -> str | Exception:
            body = _body(text, tier, number)
            name = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
            known = cache.get(name) if cache else None
            if known is not None:
                return known
            try:
                async with places:
                    done = await client.chat.completions.create(**body)
                reply = str(done.choices[0].message.content or "")
            except (OpenAIError, IndexError, AttributeError) as failure:
                return failure if str(failure) else RuntimeError(type(failure).__name__)
            if cache is not None:
                cache.put(name, reply)
            return reply

        return list(
            await asyncio.gather(
                *(asyncio.gather(*(one(text, at) for at in range(count))) for text in texts)
            )
        )


def _body(text: str, tier: TierConfig, number: int) -> dict[str, Any]:
    return {
        "model": tier.model,
        "messages": [{"role": "user", "content": tier.prompt.replace("{question}", _whole(text))}],
        "temperature": tier.temperature,
        "top_p": tier.top_p,
        "max_tokens": tier.max_tokens,
        "seed": tier.seed + number,
    }


def _whole(text: str) -> str:
    """A text without halves of surrogate pairs, which nothing can send or keep."""
    return text.encode("utf-8", "replace").decode("utf-8")
