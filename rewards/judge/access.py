"""How questions reach a judge from any thread and any event loop: one way in, one way out.

    any loop     await access.asked(prompt, 3)  ─┐
    any thread   access.wait(judgement)         ─┴─► Desk (a thread with a loop of its own)

A judge's limits hold for all askers together, for they share the desk. It is made with the first
question, and a process that was forked makes its own.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import Any, TypeVar

from munro.rewards.errors import GraderError
from munro.rewards.judge.config import JudgeConfig
from munro.rewards.judge.conversation import Material, Question, Turn, material_of
from munro.rewards.judge.desk import Desk
from munro.rewards.judge.fence import clip, defuse
from munro.rewards.judge.prompts import Prompt
from munro.rewards.judge.reading import THOUGHT_MARKS
from munro.rewards.judge.verdicts import V
from munro.rewards.serving.server import check_checkpoint, special_texts
from munro.rewards.serving.template_keys import refusal, templates_in

T = TypeVar("T")


class Access:
    """The way to one judge. Safe to use from many threads and event loops."""

    def __init__(self, config: JudgeConfig, name: str) -> None:
        """
        Args:
            config: whom to ask, and how.
            name: for messages and log files.

        Raises:
            ValueError: the key's variable is not set, `model` is no checkpoint to serve, or
                its chat template does not use what it is told.
        """
        self._config, self._name = config, name
        self._key = ""
        if config.api_key_env:
            self._key = os.environ.get(config.api_key_env, "")
            if not self._key:
                raise ValueError(
                    f"judge {name!r}: api_key_env names {config.api_key_env!r}, but this "
                    "environment variable is empty. Set it to the key."
                )
        self._marks: tuple[str, ...] = ()
        if not config.base_url:
            check_checkpoint(config.model)
            self._marks = special_texts(config.model)
            self._require_used(name, config)
        self._lock = threading.Lock()
        self._desk: Desk | None = None
        self._is_closed = False

    def _require_used(self, name: str, config: JudgeConfig) -> None:
        """Refuse what the chat template of the checkpoint that Munro serves would not use."""
        templates = templates_in(Path(config.model).expanduser())
        key, whose = f"judge.{name}.template_args", f"the chat template of {config.model}"
        if wrong := refusal(key, config.template_args, templates, whose):
            raise ValueError(wrong)

    def clean(self, text: str) -> str:
        """A text as it may be shown."""
        return defuse(text, (*self._marks, *THOUGHT_MARKS))

    def shown(self, response: str) -> str:
        """A response as it may be shown: clipped too."""
        return self.clean(clip(response, self._config.max_response_chars))

    def material(self, question: Question, what: str) -> Material:
        """A question as it may be shown: a conversation turn by turn, clipped in its middle.

        Args:
            question: a text, or turns.
            what: how the judge's task calls it.
        """
        if isinstance(question, str):
            return material_of(self.clean(question), what, 0)
        turns = [Turn(role=turn.role, content=self.clean(turn.content)) for turn in question]
        return material_of(turns, what, self._config.max_conversation_chars)

    async def asked(self, prompt: Prompt[V], count: int) -> list[V]:
        """`count` independent verdicts, through the loop that all askers share.

        Raises:
            GraderError: one could not be had.
        """
        future = self._submit(lambda desk: desk.ask(prompt, count))
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError as cancelled:
            task = asyncio.current_task()
            if self._is_closed and not (task and task.cancelling()):
                raise GraderError(f"judge {self._name!r} was closed meanwhile") from cancelled
            raise

    def wait(self, judgement: Coroutine[Any, Any, T]) -> T:
        """What a coroutine returns, for code without an event loop: blocks until then."""
        try:
            future = self._submit(lambda _: judgement)
        except GraderError:
            judgement.close()
            raise
        try:
            return future.result()
        except CancelledError as cancelled:
            raise GraderError(f"judge {self._name!r} was closed meanwhile") from cancelled

    def metrics(self) -> dict[str, float]:
        """Events so far: questions, cached, shared, requests, retries, repairs, failures, ..."""
        desk = self._desk
        return dict(desk.counts()) if desk else {}

    def close(self) -> None:
        """End what is under way, and this process's claim on a server. Safe to call twice."""
        with self._lock:
            desk, self._desk, self._is_closed = self._desk, None, True
        if desk is not None and desk.pid == os.getpid():
            desk.close()
            atexit.unregister(self.close)

    def _submit(self, work: Callable[[Desk], Coroutine[Any, Any, T]]) -> Future[T]:
        """Begin work on the desk's loop. Under the lock, so that closing cannot overlook it."""
        with self._lock:
            if self._is_closed:
                raise GraderError(f"judge {self._name!r} is closed")
            # a forked process has the parent's object, but neither its thread nor its connections
            if self._desk is None or self._desk.pid != os.getpid():
                self._desk = Desk(self._name, self._config, self._key, self._marks)
                atexit.register(self.close)
            return asyncio.run_coroutine_threadsafe(work(self._desk), self._desk.loop)
