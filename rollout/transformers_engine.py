"""An inference engine in plain PyTorch, for debugging: the contract with nothing in the way.

It decodes one batch at a time, in one thread, padding on the left and keeping keys and values. The
sampling rule is `munro.rollout.nucleus`, the very code that runs inside vLLM on the CPU.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from munro.base_model.adapters import attach
from munro.base_model.adapters import files as adapter_files
from munro.base_model.adapters.errors import BadAdapter
from munro.base_model.weights import BadWeights, load
from munro.envs.types import KeptTokens
from munro.kernels import vector_math
from munro.rewards.errors import PolicyError
from munro.rewards.serving.architectures import register_architectures
from munro.rollout.config import RolloutConfig
from munro.rollout.engine import Completion, Load, Request, WeightSource
from munro.rollout.nucleus import Draws, sample, uniforms
from munro.rollout.transfer.asking import NotReceived
from munro.rollout.transfer.boxes import NotABox
from munro.rollout.transfer.intake import Intake

T = TypeVar("T")


class TransformersEngine:
    """Keeps the contract of `munro.rollout.engine.Engine`.

    Batches run one after another, so an update of the weights always finds no request running:
    with or without `drain` it waits for the batches given before it.
    """

    def __init__(
        self,
        model: str,
        config: RolloutConfig,
        *,
        seed: int,  # noqa: ARG002 - every draw here has its request's own seed
        max_context: int,
    ) -> None:
        """Load the model; blocks.

        Args:
            model: folder or name of a checkpoint.
            config: sampling and machine.
            seed: not used.
            max_context: longest token stream; 0 takes the model's own limit.

        Raises:
            PolicyError: the model cannot be loaded.
        """
        register_architectures()
        vector_math.settle()
        on_gpu = torch.cuda.is_available()
        name = config.dtype if config.dtype != "auto" else ("bfloat16" if on_gpu else "float32")
        try:
            self._model = load(model, dtype=getattr(torch, name))
            if getattr(self._model.config, "attn_logit_softcapping", None):
                # transformers' default leaves the cap out
                self._model.config._attn_implementation = "eager"
        except BadWeights as error:
            raise PolicyError(f"model {model}: {error}") from error
        self._device = torch.device("cuda" if on_gpu else "cpu")
        self._model.eval().to(self._device)
        self._max_context = max_context or self._own_limit(model)
        self._takes = inspect.signature(type(self._model).forward).parameters.keys()
        self._max_batch = config.max_batch
        self._version = self._num_generated = 0
        # one thread: its queue is what orders batches and updates
        self._intake: Intake | None = None
        self._torn = ""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="transformers_engine")
        self._is_closed = False

    async def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """See `munro.rollout.engine.Engine.generate`.

        Raises:
            PolicyError: the engine has been closed.
            ValueError: a request that no engine could serve.
        """
        for request in requests:
            self._check(request)
        return await self._run(lambda: self._generate(requests))

    async def score(self, token_ids: Sequence[int], *, base: bool = False) -> NDArray[np.float32]:
        """See `munro.rollout.engine.Engine.score`."""

        @torch.inference_mode()
        def score() -> NDArray[np.float32]:
            self._require_whole()
            ids_N = torch.tensor(list(token_ids), device=self._model.device)
            with attach.left_out(self._model) if base else nullcontext():
                logits_NV = self._model(ids_N[None, :-1]).logits[0]
            logp_NV = logits_NV.float().log_softmax(-1)
            logp_N = logp_NV.gather(-1, ids_N[1:, None]).squeeze(-1)
            return np.concatenate([np.zeros(1, np.float32), logp_N.cpu().numpy()])

        return await self._run(score)

    async def update_weights(
        self,
        source: WeightSource,
        *,
        drain: bool,  # noqa: ARG002 - batches run one after another
    ) -> None:
        """See `munro.rollout.engine.Engine.update_weights`.

        Raises:
            PolicyError: the file is missing, or is not this model's.
        """
        if source.meeting:
            await self.wake()
            await self._run(lambda: self._take_boxes(source))
            return
        if not Path(source.path).exists():
            raise PolicyError(f"weights of version {source.version}: no file at {source.path}")
        if Path(source.path).is_dir():
            await self.wake()  # whole weights come to the device by themselves
            await self._run(lambda: self._take_adapter(source))
            return

        def load() -> None:
            from safetensors.torch import load_file
            from transformers.utils import logging

            # the model's class reads a checkpoint's names (fused experts have others in memory)
            logging.disable_progress_bar()
            try:
                model, found = type(self._model).from_pretrained(
                    None,
                    config=self._model.config,
                    state_dict=load_file(source.path),
                    dtype=self._model.dtype,
                    output_loading_info=True,
                )
            except RuntimeError as error:
                raise PolicyError(f"weights of version {source.version}: {error}") from error
            if found["missing_keys"] or found["unexpected_keys"]:
                raise PolicyError(
                    f"weights of version {source.version} are not this model's: missing "
                    f"{sorted(found['missing_keys'])[:3]}, unknown "
                    f"{sorted(found['unexpected_keys'])[:3]}"
                )
            self._model = model.eval().to(self._device)
            self._version = source.version

        await self._run(load)

    async def sleep(
        self,
        *,
        level: int,  # noqa: ARG002 - the weights stay in the host's memory whatever it is
    ) -> None:
        """See `munro.rollout.engine.SleepingEngine.sleep`."""
        await self._run(lambda: self._move("cpu"))

    async def wake(self) -> None:
        """See `munro.rollout.engine.SleepingEngine.wake`."""
        await self._run(lambda: self._move(self._device))

    def _move(self, to: str | torch.device) -> None:
        self._model.to(to)
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _take_adapter(self, source: WeightSource) -> None:
        """Put an adapter on the model, or new values into the one that is: no batch runs.

        Raises:
            PolicyError: it fits another model.
        """
        folder = Path(source.path)
        try:
            if attach.is_adapted(self._model):
                attach.set_weights(self._model, adapter_files.read_weights(folder))
            else:
                adapter_files.put_on(self._model, folder)
        except BadAdapter as error:
            raise PolicyError(f"adapter of version {source.version}: {error}") from error
        self._model.eval()
        self._version = source.version

    def _take_boxes(self, source: WeightSource) -> None:
        """Take new values in place, from those that hold them: no batch runs.

        Raises:
            PolicyError: they did not all come; what was begun makes it torn until a version is
                whole.
        """
        try:
            self._intake = self._intake or Intake(self._model, self._device)
            for _ in self._intake.take(source):
                self._torn = f"the update to version {source.version} stopped half-way"
        except (NotReceived, NotABox) as error:
            raise PolicyError(str(error)) from error
        self._version, self._torn = source.version, ""

    async def version(self) -> int:
        """See `munro.rollout.engine.Engine.version`; -1 of a torn one, which has none."""
        return await self._run(lambda: -1 if self._torn else self._version)

    async def room(self) -> int | None:
        """See `munro.rollout.engine.SleepingEngine.room`: it takes whatever memory it needs."""
        return None

    def load(self) -> Load:
        """See `munro.rollout.engine.SleepingEngine.load`."""
        return Load(generated=self._num_generated)

    async def close(self) -> None:
        """Let go of model and thread."""
        if not self._is_closed:
            self._is_closed = True
            self._thread.shutdown(wait=True, cancel_futures=True)
            del self._model

    def _own_limit(self, model: str) -> int:
        text = self._model.config.get_text_config()
        if limit := getattr(text, "max_position_embeddings", None):
            return int(limit)
        raise PolicyError(
            f"model {model} states no longest context of its own: set rollout.max_context"
        )

    def _require_whole(self) -> None:
        if self._torn:
            raise PolicyError(self._torn)

    async def _run(self, work: Callable[[], T]) -> T:
        if self._is_closed:
            raise PolicyError("the inference engine has been closed")
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _check(self, request: Request) -> None:
        if not 0 < len(request.prompt_ids) < self._max_context:
            raise ValueError(
                f"request {request.key}: a prompt of {len(request.prompt_ids)} tokens; this engine "
                f"takes 1 to {self._max_context - 1}, and needs room for one more."
            )
        if request.top_p < 1 and request.top_k <= 0:
            raise ValueError(
                f"request {request.key}: top_p = {request.top_p} needs top_k > 0, the number of "
                "candidates that a nucleus can be recorded from."
            )

    def _generate(self, requests: Sequence[Request]) -> list[Completion]:
        self._require_whole()
        done: list[Completion] = []
        for first in range(0, len(requests), self._max_batch):
            done += self._batch(requests[first : first + self._max_batch])
        return done

    @torch.inference_mode()
    def _batch(self, requests: Sequence[Request]) -> list[Completion]:
        """Decode until the last sequence ends; ended ones ride along unread."""
        from transformers import DynamicCache

        rows = [Row(request, self._max_context) for request in requests]
        rule = Rule.of(requests, vocab=self._model.config.vocab_size)
        device = self._model.device
        width = max(len(request.prompt_ids) for request in requests)
        ids_BL = torch.zeros(len(rows), width, dtype=torch.int64)
        mask_BL = torch.zeros_like(ids_BL)
        for i, request in enumerate(requests):
            ids_BL[i, width - len(request.prompt_ids) :] = torch.tensor(list(request.prompt_ids))
            mask_BL[i, width - len(request.prompt_ids) :] = 1
        ids_BL, mask_BL = ids_BL.to(device), mask_BL.to(device)
        position_BL = (mask_BL.cumsum(-1) - 1).clamp(min=0)
        # a model without keys and values to keep (a state-space one) reads everything again
        caches = "past_key_values" in self._takes
        how: dict[str, Any] = {"use_cache": caches, "logits_to_keep": 1}
        if caches:
            how["past_key_values"] = DynamicCache(config=self._model.config)
        while True:
            if "position_ids" in self._takes:
                how["position_ids"] = position_BL
            told = self._model(ids_BL, attention_mask=mask_BL, **how)
            drawn = rule.draw(told.logits[:, -1])
            routed = getattr(told, "routing", None)
            self._num_generated += sum(not row.is_done for row in rows)
            for i, row in enumerate(rows):
                if routed is not None:
                    row.read(routed.experts[i][mask_BL[i, -ids_BL.shape[1] :].bool()])
                row.take(drawn, i)
            if all(row.is_done for row in rows):
                return [row.completion(self._version) for row in rows]
            new_B1 = drawn.token.to(device)[:, None]
            ids_BL = new_B1 if caches else torch.cat([ids_BL, new_B1], dim=-1)
            mask_BL = torch.cat([mask_BL, torch.ones_like(new_B1)], dim=-1)
            position_BL = position_BL[:, -1:] + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What a batch's requests ask of the sampler, row by row."""

    temperature: Tensor
    """[B] float32"""
    top_k: Tensor
    """[B] int64, V for no limit."""
    top_p: Tensor
    """[B] float32"""
    streams: tuple[torch.Generator, ...]

    @classmethod
    def of(cls, requests: Sequence[Request], *, vocab: int) -> Rule:
        """Read the requests."""
        return cls(
            temperature=torch.tensor([request.temperature for request in requests]),
            top_k=torch.tensor(
                [min(request.top_k, vocab) if request.top_k else vocab for request in requests]
            ),
            top_p=torch.tensor([request.top_p for request in requests]),
            streams=tuple(torch.Generator().manual_seed(request.seed) for request in requests),
        )

    def draw(self, logits_BV: Tensor) -> Draws:
        """The next token of every row."""
        return sample(
            logits_BV.cpu(),
            self.temperature,
            self.top_k,
            self.top_p,
            uniforms(self.streams),
        )


@dataclass(slots=True)
class Row:
    """One sequence as it grows."""

    request: Request
    max_context: int
    token_ids: list[int] = field(default_factory=list)
    logp: list[float] = field(default_factory=list)
    kept: list[NDArray[np.int32]] = field(default_factory=list)
    routed: list[NDArray[np.int16]] = field(default_factory=list)
    is_stopped: bool = False

    @property
    def is_done(self) -> bool:
        """A stop token or a limit has ended it."""
        room = self.max_context - len(self.request.prompt_ids)
        return self.is_stopped or len(self.token_ids) >= min(self.request.max_tokens, room)

    def read(self, experts_TMK: Tensor) -> None:
        """Note the experts of its tokens that a pass has read."""
        if not self.is_done:
            self.routed.append(experts_TMK.cpu().to(torch.int16).numpy())

    def take(self, drawn: Draws, row: int) -> None:
        """Note what was drawn for it."""
        if self.is_done:
            return
        token = int(drawn.token[row])
        self.token_ids.append(token)
        self.logp.append(float(drawn.logp[row]))
        is_kept = drawn.candidate_logp[row].isfinite()
        self.kept.append(drawn.candidates[row][is_kept].to(torch.int32).numpy())
        self.is_stopped = token in self.request.stop_token_ids

    def completion(self, version: int) -> Completion:
        """What came of it."""
        num_kept = [len(ids) for ids in self.kept]
        return Completion(
            token_ids=np.array(self.token_ids, np.int32),
            logp=np.array(self.logp, np.float32),
            kept=KeptTokens(
                ids=np.concatenate(self.kept),
                starts=np.concatenate([[0], np.cumsum(num_kept)]).astype(np.int32),
            ),
            versions=np.full(len(self.token_ids), version, np.int32),
            stopped=self.is_stopped,
            num_cut=num_kept.count(self.request.top_k) if self.request.top_k else 0,
            routed_experts=self._routing(),
        )

    def _routing(self) -> NDArray[np.int16] | None:
        if not self.routed:
            return None
        unread = np.full((1, *self.routed[0].shape[1:]), -1, np.int16)
        routed: NDArray[np.int16] = np.concatenate([*self.routed, unread])
        return routed[self.request.routed_from :].copy()
