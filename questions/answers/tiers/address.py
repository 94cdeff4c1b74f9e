"""A tier at an OpenAI-compatible address."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from munro.questions.answers.config import TierConfig
from munro.questions.answers.tiers.base import Answered, Ask, Failed, OnReply
from munro.questions.errors import QuestionsError
from munro.rewards.judge.client import MAY_PASS, connect, retry_after_s
from munro.rewards.judge.completion import completion_of, one_line, reason_in

if TYPE_CHECKING:
    from openai import AsyncOpenAI

MOST_BACKOFF_S = 60.0
MOST_WAIT_S = 600.0
"""A service that asks for a longer wait is given up."""


class Address:
    """Keeps the contract of `munro.questions.answers.tiers.base.Tier`."""

    def __init__(self, config: TierConfig) -> None:
        """Nothing is sent yet.

        Raises:
            QuestionsError: the key's variable is not set.
        """
        self._config = config
        self._key = os.environ.get(config.api_key_env, "") if config.api_key_env else ""
        if config.api_key_env and not self._key:
            raise QuestionsError(
                f"tier {config.name}: api_key_env names {config.api_key_env!r}, but this "
                "environment variable is empty. Set it to the key."
            )
        self.where = f" at {config.base_url}"

    def key(self, ask: Ask) -> str:
        """See `Tier.key`: models of one name at two addresses are two models."""
        told = json.dumps([self._config.base_url, self._body(ask)], sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()

    def replies(self, asks: Sequence[Ask], on_reply: OnReply) -> list[Answered]:
        """See `Tier.replies`."""
        return asyncio.run(self._all(asks, on_reply))

    def close(self) -> None:
        """See `Tier.close`."""

    async def _all(self, asks: Sequence[Ask], on_reply: OnReply) -> list[Answered]:
        places = asyncio.Semaphore(self._config.concurrency)
        url, timeout_s = self._config.base_url, self._config.timeout_s

        async def one(client: AsyncOpenAI, ask: Ask) -> Answered:
            answered = await self._reply(client, places, ask)
            if isinstance(answered, str):
                on_reply(ask, answered)
            return answered

        async with connect(url, self._key, timeout_s=timeout_s) as client:
            return list(await asyncio.gather(*(one(client, ask) for ask in asks)))

    async def _reply(self, client: AsyncOpenAI, places: asyncio.Semaphore, ask: Ask) -> Answered:
        """What came of it after as many tries as the config allows."""
        backoff_s, failed = self._config.backoff_s, None
        for tried in range(self._config.retries + 1):
            if failed is not None:
                own_s = min(backoff_s * 2.0 ** (tried - 1), MOST_BACKOFF_S)
                await asyncio.sleep(max(own_s, failed.wait_s))
            async with places:
                answered = await self._try(client, ask)
            if isinstance(answered, str):
                return answered
            failed = answered
            if not failed.may_pass or failed.wait_s > MOST_WAIT_S:
                break
        assert failed is not None
        return failed

    async def _try(self, client: AsyncOpenAI, ask: Ask) -> Answered:
        import openai

        try:
            async with asyncio.timeout(self._config.timeout_s):
                raw = await client.chat.completions.with_raw_response.create(**self._body(ask))
                done = completion_of(raw.http_response.text)
        except (TimeoutError, openai.APITimeoutError):
            why = f"no answer within timeout_s = {self._config.timeout_s:g}"
            return Failed(why=why, may_pass=True)
        except openai.APIStatusError as refused:
            status = refused.status_code
            return Failed(
                why=self._shown(f"HTTP {status}: {reason_in(refused.response.text)}"),
                may_pass=status in MAY_PASS or status >= 500,
                wait_s=retry_after_s(refused.response.headers),
            )
        except openai.APIConnectionError as broken:
            cause = broken.__cause__ or broken
            why = f"no connection ({type(cause).__name__}: {one_line(str(cause))})"
            return Failed(why=self._shown(why), may_pass=True)
        except ValueError as other:  # what came is no completion
            return Failed(why=self._shown(str(other)), may_pass=True)
        if done.was_filtered:
            return Failed(why="the service's filter refused it", may_pass=False)
        return done.text

    def _body(self, ask: Ask) -> dict[str, Any]:
        tier = self._config
        return {
            "model": tier.model,
            "messages": [{"role": "user", "content": ask.text}],
            "temperature": tier.temperature,
            "top_p": tier.top_p,
            "max_tokens": tier.max_tokens,
            "seed": tier.seed + ask.number,
        }

    def _shown(self, text: str) -> str:
        """Text of a service as a file may hold it: without the key, should it say that back."""
        return text.replace(self._key, "***") if self._key else text
