"""A tier that Munro runs: a checkpoint, through the engine that climbs sample with."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from munro.base_model.checkpoint import Checkpoint, CheckpointError
from munro.envs.types import Message
from munro.questions.answers.config import TierConfig
from munro.questions.answers.tiers.base import Answered, Ask, Failed, OnReply
from munro.questions.errors import QuestionsError
from munro.rewards.errors import PolicyError
from munro.rewards.serving.server import fingerprint
from munro.rewards.serving.template_keys import templates_in
from munro.rollout.config import RolloutConfig
from munro.rollout.engine import Completion, Request, SleepingEngine
from munro.rollout.inference import build_engine
from munro.rollout.render import BadTemplate, Renderer, renderer
from munro.rollout.seeds import request_seed

PARTS = ("engine", "template_args", "nucleus_candidates", "dtype", "tensor_parallel")
SIZES = ("gpu_memory", "cpu_kv_cache_gb", "max_batch")
"""Keys that a rollout has by the same name; sizes change nothing of what is said."""


class Served:
    """Keeps the contract of `munro.questions.answers.tiers.base.Tier`."""

    def __init__(self, config: TierConfig) -> None:
        """Nothing is loaded yet.

        Raises:
            QuestionsError: `model` is no checkpoint, or an adapter.
        """
        self._config = config
        self._folder = _folder_of(config)
        self.where = f" ({config.model})"
        serve = config.serve
        own = "chat" if templates_in(self._folder) else "r1_zero"
        told = {name: getattr(serve, name) for name in (*PARTS, *SIZES)}
        told |= {"template": serve.template or own, "max_context": serve.max_context}
        sampling = {"temperature": config.temperature, "top_p": config.top_p}
        self._rollout = RolloutConfig.model_validate(told | sampling)
        parts = {name: getattr(self._rollout, name) for name in (*PARTS, "template")}
        sizes = [config.max_tokens, serve.max_context]
        self.identity: list[Any] = [fingerprint(self._folder), parts, sizes, sampling, config.seed]
        """All that its replies depend on but for what it is asked."""
        self._runner: asyncio.Runner | None = None
        self._engine: SleepingEngine | None = None
        self._render: Renderer | None = None
        self._max_context = 0

    def key(self, ask: Ask) -> str:
        """See `Tier.key`."""
        told = json.dumps([self.identity, ask.text, ask.number], sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()

    def replies(self, asks: Sequence[Ask], on_reply: OnReply) -> list[Answered]:
        """See `Tier.replies`.

        Raises:
            QuestionsError: the engine does not come up, or the template does not fit the model.
        """
        if not asks:
            return []
        render = self._opened()
        requests: list[Request | Failed] = []
        for place, ask in enumerate(asks):
            requests.append(self._request(render, place, ask))
        sound = [one for one in requests if isinstance(one, Request)]
        done = iter(self._completed(sound) if sound else [])
        answered: list[Answered] = []
        for ask, request in zip(asks, requests, strict=True):
            if isinstance(request, Failed):
                answered.append(request)
                continue
            reply = render.said(next(done).token_ids, request.prompt_ids)
            on_reply(ask, reply)
            answered.append(reply)
        return answered

    def close(self) -> None:
        """See `Tier.close`."""
        runner, self._runner = self._runner, None
        if runner is not None:
            try:
                self._end(runner)
            finally:
                runner.close()

    def _opened(self) -> Renderer:
        """The way from questions to tokens; the model's limit is known then."""
        if self._render is None:
            try:
                tokenizer = Checkpoint(self._folder).tokenizer()
                how = self._rollout
                self._render = renderer(tokenizer, how.template, how.template_args)
            except (BadTemplate, CheckpointError) as error:
                raise QuestionsError(f"tier {self._config.name}: {error}") from error
            self._max_context = self._longest()
        return self._render

    def _longest(self) -> int:
        from transformers import AutoConfig

        from munro.rewards.serving.architectures import register_architectures

        register_architectures()
        text = AutoConfig.from_pretrained(self._folder).get_text_config()
        most = int(getattr(text, "max_position_embeddings", 0) or 0)
        wanted, name = self._config.serve.max_context, self._config.name
        if most and wanted > most:
            raise QuestionsError(
                f"tier {name}: serve.max_context = {wanted}, but {self._config.model} was made for "
                f"{most} tokens. Lower it."
            )
        if not most and not wanted:
            raise QuestionsError(
                f"tier {name}: {self._config.model} states no longest context of its own: set "
                "serve.max_context."
            )
        return wanted or most

    def _request(self, render: Renderer, place: int, ask: Ask) -> Request | Failed:
        try:
            prompt = render.opening([Message(role="user", content=ask.text)])
        except BadTemplate as error:
            return Failed(why=str(error), may_pass=False)
        if len(prompt) >= self._max_context:
            why = f"a prompt of {len(prompt):,} tokens, where {self._max_context:,} is the most"
            return Failed(why=why, may_pass=False)
        config, text = self._config, hashlib.sha256(ask.text.encode()).digest()
        return Request(
            key=(place,),
            prompt_ids=prompt,
            max_tokens=config.max_tokens,
            # of the question and of the attempt: no two questions share their draws
            seed=request_seed(config.seed, (int.from_bytes(text[:8]), ask.number)),
            temperature=config.temperature,
            top_p=config.top_p,
            top_k=self._rollout.nucleus_candidates if config.top_p < 1 else 0,
            stop_token_ids=render.stop_token_ids,
        )

    def _completed(self, requests: Sequence[Request]) -> list[Completion]:
        """Completions; an engine that dies is started again as often as the config allows."""
        self._runner = self._runner or asyncio.Runner()
        for left in range(self._config.retries, -1, -1):
            try:
                return self._runner.run(self._generate(requests))
            except PolicyError as error:
                self._end(self._runner)
                if not left:
                    raise QuestionsError(
                        f"tier {self._config.name}{self.where} cannot be run: {error}"
                    ) from error
        raise AssertionError

    async def _generate(self, requests: Sequence[Request]) -> list[Completion]:
        if self._engine is None:
            self._engine = build_engine(
                str(self._folder),
                self._rollout,
                seed=self._config.seed,
                max_context=self._max_context,
            )
        return await self._engine.generate(requests)

    def _end(self, runner: asyncio.Runner) -> None:
        engine, self._engine = self._engine, None
        if engine is not None:
            runner.run(engine.close())


def _folder_of(config: TierConfig) -> Path:
    folder = Path(config.model).expanduser()
    if not folder.is_dir():
        raise QuestionsError(
            f"tier {config.name}: model = {config.model!r} is no folder of a checkpoint, and there "
            "is no base_url. Name a checkpoint, or give the base_url of a service."
        )
    try:
        checkpoint = Checkpoint(folder).require()
    except CheckpointError as error:
        raise QuestionsError(f"tier {config.name}: {error}") from error
    if checkpoint.is_adapter:
        raise QuestionsError(
            f"tier {config.name}: {config.model} holds an adapter, and a tier is run whole: munro "
            f"merge {config.model} OUT makes a whole model of it and its base."
        )
    return folder.resolve()
