"""One question to a judge and back: paced, retried, repaired once, and remembered.

    Prompt ──► cache ──► the same question under way ──► pace ──► HTTP ──► JSON ──► verdict
                                                          ▲        │        │
                                                          └─ wait ─┘        └─ not JSON: asked
                                                     429, 5xx, time-out,       once more
                                                     dropped connection

    takes    a Prompt and a sample number   waits: for a free place and for the pace of requests
    makes    its verdict                    waits: at most timeout_s and max_wait_s for each try

Whatever keeps a verdict from coming is a `GraderError`: it says nothing about the response.
Everything here runs on one event loop.
"""

from __future__ import annotations

import asyncio
import email.utils
import hashlib
import json
import math
import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from munro.rewards.errors import GraderError
from munro.rewards.judge.cache import VerdictCache
from munro.rewards.judge.completion import completion_of, one_line, reason_in
from munro.rewards.judge.config import JudgeConfig
from munro.rewards.judge.fence import defuse, new_code
from munro.rewards.judge.prompts import REPAIR, Prompt
from munro.rewards.judge.reading import said
from munro.rewards.judge.verdicts import V

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI

MAY_PASS = frozenset({408, 409, 425, 429})
"""HTTP statuses, beside 5xx, after which the same request may succeed."""
CODE_IN_IDENTITY = "-"
REPEATED_CHARS = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a judge answers."""

    base_url: str
    model: str
    """As requests name it."""
    key: str = field(repr=False)
    identity: str
    """What verdicts are remembered under: two endpoints of one identity judge alike."""
    marks: tuple[str, ...] = ()
    """Texts that the judge's tokenizer takes for more than text, where that is known."""


class _MayPass(Exception):
    """A try failed in a way that may pass. `wait_s` is what the service asked for."""

    def __init__(self, what: str, wait_s: float = 0.0) -> None:
        super().__init__(what)
        self.wait_s = wait_s


class Pace:
    """When the next request may begin: evenly spaced, and not before a service wants one again."""

    def __init__(self, requests_per_minute: float) -> None:
        self._spacing_s = 60.0 / requests_per_minute if requests_per_minute else 0.0
        self._next = 0.0

    def reserve(self, now: float) -> float:
        """Seconds that the caller has to wait from `now` on; its place is then taken."""
        start = max(now, self._next)
        self._next = start + self._spacing_s
        return start - now

    def hold(self, until: float) -> None:
        """Nothing begins before `until`, on the clock of `reserve`."""
        self._next = max(self._next, until)


class JudgeClient:
    """Asks one endpoint. Made and used on one event loop."""

    def __init__(self, name: str, config: JudgeConfig, endpoint: Endpoint) -> None:
        """
        Args:
            name: of the judge, for messages.
            config: sampling, limits and retries.
            endpoint: where to ask.

        Raises:
            ValueError: the cache cannot be opened.
        """
        self._name = name
        self._config = config
        self._endpoint = endpoint
        self._http = connect(endpoint.base_url, endpoint.key, timeout_s=config.timeout_s)
        self._cache = _cache(config)
        self._places = asyncio.Semaphore(config.concurrency)
        self._pace = Pace(config.requests_per_minute)
        self._jitter = random.Random()
        self._under_way: dict[str, asyncio.Task[str]] = {}
        self.counts: Counter[str] = Counter()
        """Events so far: questions, cached, shared, requests, retries, repairs, failures, tokens
        in and out."""

    async def ask(self, prompt: Prompt[V], sample: int = 0) -> V:
        """The judge's verdict on a prompt whose material is defused.

        Args:
            prompt: the question.
            sample: which of several independent answers to it.

        Raises:
            GraderError: there is none to be had, with the last reason.
        """
        self.counts["questions"] += 1
        key = self._key(prompt, sample)
        known = self._cache.get(key) if self._cache else None
        if known is not None:
            self.counts["cached"] += 1
            return prompt.read(known)
        task = self._under_way.get(key)
        if task is not None:
            self.counts["shared"] += 1
        else:
            task = asyncio.get_running_loop().create_task(self._answer(prompt, sample, key))
            self._under_way[key] = task
            task.add_done_callback(lambda done: self._settled(key, done))
        # one who gives up waiting does not take the answer from the others
        return prompt.read(await asyncio.shield(task))

    async def close(self) -> None:
        """Drop what is under way and let go of connections and cache."""
        for task in list(self._under_way.values()):
            task.cancel()
        async with AsyncExitStack() as stack:
            if self._cache:
                stack.callback(self._cache.close)
            stack.push_async_callback(self._http.close)

    def _settled(self, key: str, task: asyncio.Task[str]) -> None:
        del self._under_way[key]
        if not task.cancelled() and task.exception() is not None:
            self.counts["failures"] += 1

    def _key(self, prompt: Prompt[V], sample: int) -> str:
        config = self._config
        asked = [self._endpoint.identity, prompt.identity(), config.structured_output]
        sampling = [config.temperature, config.max_tokens, config.max_notes_chars, config.extra]
        if config.template_args:
            sampling.append(config.template_args)
        seed = config.seed if config.temperature else 0
        text = json.dumps([*asked, *sampling, seed, sample], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    async def _answer(self, prompt: Prompt[V], sample: int, key: str) -> str:
        """A verdict's JSON that was read, after one repair if it took one."""
        messages = prompt.messages(new_code())
        body = self._body(prompt, sample)
        reply = await self._send(messages, body)
        try:
            verdict = prompt.read(reply)
        except ValueError as problem:
            self.counts["repairs"] += 1
            again = REPAIR.format(problem=_problem(problem), shape=prompt.verdict.shape)
            messages += [
                {"role": "assistant", "content": reply[:REPEATED_CHARS] or "(nothing)"},
                {"role": "user", "content": again},
            ]
            verdict = self._read_or_give_up(prompt, await self._send(messages, body))
        text = verdict.model_dump_json()
        if self._cache:
            self._cache.put(key, text)
        return text

    def _read_or_give_up(self, prompt: Prompt[V], reply: str) -> V:
        try:
            return prompt.read(reply)
        except ValueError as problem:
            raise self._failed(
                f"answered twice without the JSON asked for ({_problem(problem)}): "
                f"{one_line(reply) or 'nothing'!r}"
            ) from problem

    def _body(self, prompt: Prompt[V], sample: int) -> dict[str, Any]:
        config = self._config
        body: dict[str, Any] = {
            "model": self._endpoint.model,
            "temperature": config.temperature,
            "max_completion_tokens": config.max_tokens,
        }
        if config.temperature:
            body["seed"] = config.seed + sample
        if config.structured_output == "json_schema":
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {
                    "name": prompt.verdict.__name__,
                    "strict": True,
                    "schema": prompt.schema(config.max_notes_chars),
                },
            }
        elif config.structured_output == "json_object":
            body["response_format"] = {"type": "json_object"}
        if config.template_args:
            body["chat_template_kwargs"] = config.template_args
        return body | config.extra

    async def _send(self, messages: Sequence[Mapping[str, str]], body: dict[str, Any]) -> str:
        """The text of one answer, after as many tries as the config allows."""
        config, wait_s = self._config, 0.0
        for attempt in range(config.retries + 1):
            if attempt:
                self.counts["retries"] += 1
                await asyncio.sleep(wait_s)
            try:
                async with self._places:
                    await asyncio.sleep(self._pace.reserve(time.monotonic()))
                    self.counts["requests"] += 1
                    return await self._try(messages, body)
            except _MayPass as failure:
                if failure.wait_s > config.max_wait_s:
                    raise self._failed(
                        f"{failure}, and asks to wait {failure.wait_s:g} s: longer than max_wait_s "
                        f"= {config.max_wait_s:g}"
                    ) from failure
                if failure.wait_s:
                    self._pace.hold(time.monotonic() + failure.wait_s)
                wait_s = max(failure.wait_s, self._backoff_s(attempt))
                last = failure
        tries = f"{config.retries + 1} tries" if config.retries else "1 try"
        raise self._failed(f"no answer in {tries}; the last: {last}") from last

    def _backoff_s(self, attempt: int) -> float:
        longest = min(self._config.backoff_s * 2.0**attempt, self._config.max_wait_s)
        return longest * self._jitter.uniform(0.5, 1.0)

    async def _try(self, messages: Sequence[Mapping[str, str]], body: dict[str, Any]) -> str:
        """One request, there and back.

        Raises:
            _MayPass: it failed, but need not fail again.
            GraderError: it failed for good.
        """
        import openai

        try:
            async with asyncio.timeout(self._config.timeout_s):
                raw = await self._http.chat.completions.with_raw_response.create(
                    messages=messages,  # type: ignore[arg-type]
                    model=body["model"],
                    extra_body=body,
                )
                return self._text_of(raw.http_response.text)
        except (TimeoutError, openai.APITimeoutError) as late:
            raise _MayPass(f"no answer within timeout_s = {self._config.timeout_s:g}") from late
        except openai.APIStatusError as refused:
            what = self._shown(f"HTTP {refused.status_code}: {reason_in(refused.response.text)}")
            if refused.status_code in MAY_PASS or refused.status_code >= 500:
                raise _MayPass(what, retry_after_s(refused.response.headers)) from refused
            raise self._failed(f"refuses the request: {what}{self._hint(refused)}") from refused
        except openai.APIConnectionError as broken:
            cause = broken.__cause__ or broken
            raise _MayPass(
                self._shown(f"no connection ({type(cause).__name__}: {one_line(str(cause))})")
            ) from broken

    def _text_of(self, body: str) -> str:
        """The message of a chat completion, "" where the judge said nothing."""
        try:
            answer = completion_of(body)
        except ValueError as other:
            raise _MayPass(self._shown(str(other))) from None
        self.counts["tokens_in"] += answer.tokens_in
        self.counts["tokens_out"] += answer.tokens_out
        self.counts["cut_off"] += answer.was_cut
        return defuse(said(answer.text), self._endpoint.marks)

    def _hint(self, refused: APIStatusError) -> str:
        if refused.status_code in (401, 403):
            variable = self._config.api_key_env
            return f". Check the key in {variable}" if variable else ". Set api_key_env"
        if refused.status_code == 404:
            return ". Check model, and base_url, which most often ends in /v1"
        return ""

    def _shown(self, text: str) -> str:
        """Text of a service as a log may hold it: without the key, should it say that back."""
        return text.replace(self._endpoint.key, "***") if self._endpoint.key else text

    def _failed(self, what: str) -> GraderError:
        config = self._config
        where = f" at {config.base_url}" if config.base_url else ""
        return GraderError(f"judge {self._name!r} ({config.model}{where}) {what}")


def retry_after_s(headers: Mapping[str, str], now: float | None = None) -> float:
    """Seconds that Retry-After asks for, as a number or as a date; 0 where it says nothing."""
    text = headers.get("retry-after", "").strip()
    with suppress(ValueError):
        seconds = float(text)
        return 0.0 if math.isnan(seconds) else max(seconds, 0.0)
    with suppress(ValueError):
        then = email.utils.parsedate_to_datetime(text).timestamp()
        return max(then - (time.time() if now is None else now), 0.0)
    return 0.0


def connect(base_url: str, key: str, *, timeout_s: float) -> AsyncOpenAI:
    """A client of an address that sends nothing twice by itself."""
    import openai

    # on this machine: no proxy leads there, and reading the list of authorities would take longer
    # than the first answers
    is_here = urlsplit(base_url).hostname in ("127.0.0.1", "localhost", "::1")
    is_plain = is_here and base_url.startswith("http:")
    return openai.AsyncOpenAI(
        base_url=base_url,
        api_key=key or "none",
        timeout=timeout_s,
        max_retries=0,
        http_client=openai.DefaultAsyncHttpxClient(
            trust_env=not is_here, verify=not is_plain, follow_redirects=not is_plain
        ),
    )


def _cache(config: JudgeConfig) -> VerdictCache | None:
    from pathlib import Path

    return VerdictCache(Path(config.cache).expanduser()) if config.cache else None


def _problem(error: ValueError) -> str:
    """What is wrong with a reply, in a few words and without repeating it."""
    from pydantic import ValidationError

    if not isinstance(error, ValidationError):
        return one_line(str(error))
    first = error.errors(include_input=False, include_url=False)[0]
    where = ".".join(map(str, first["loc"]))
    return one_line(f"{where}: {first['msg']}" if where else str(first["msg"]))
