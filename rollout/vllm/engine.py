"""An inference engine on vLLM: continuous batching, exact nucleus, new weights in place.

    generate ──► AsyncLLM (this process) ──► engine process: scheduler, model, `NucleusSampler`
    update_weights ──► pause ──► `FileTransfer` or `PlanTransfer` ──► caches emptied ──► resume

What can make a call wait: `generate` for a free place in the batch; everything for an update that
drains. Nothing waits for an engine process that has died: that is a `PolicyError`.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from munro.rewards.errors import PolicyError
from munro.rollout.adapters import Adapters
from munro.rollout.config import RolloutConfig
from munro.rollout.engine import ALONE, Completion, Load, Request, Sharing, WeightSource
from munro.rollout.vllm.adapters import Served, ServedAdapters
from munro.rollout.vllm.last_words import LastWords
from munro.rollout.vllm.launch import start
from munro.rollout.vllm.load import Meter
from munro.rollout.vllm.outputs import completion

if TYPE_CHECKING:
    from vllm import SamplingParams
    from vllm.outputs import RequestOutput
    from vllm.v1.engine.async_llm import AsyncLLM
    from vllm.v1.engine.core_client import AsyncMPClient
    from vllm.v1.engine.output_processor import RequestOutputCollector

T = TypeVar("T")

CLOSE_S = 10.0
"""Longest wait for the engine process to end by itself; it is killed then."""
PULSE_S = 0.5
"""How often a waiting call looks whether the engine process is still alive."""


class VllmEngine:
    """Keeps the contract of `munro.rollout.engine.Engine`. Use it from one event loop."""

    def __init__(
        self,
        model: str,
        config: RolloutConfig,
        *,
        seed: int,
        max_context: int,
        sharing: Sharing = ALONE,
        repack: bool = True,
        adapters: Adapters | None = None,
    ) -> None:
        """Start the engine process; takes seconds, and blocks.

        Args:
            model: folder or name of a checkpoint.
            config: sampling and machine.
            seed: of anything not seeded by a request.
            max_context: longest token stream; 0 takes the model's own limit.
            sharing: how it stands to the learner.
            repack: False leaves out the repacking after an update that the CPU needs, to prove
                that the check of the sync sees it.
            adapters: to serve, where updates are adapters and not whole weights.

        Raises:
            PolicyError: vLLM is not installed, or the model does not come up.
        """
        self._words, self._meter = LastWords(), Meter()
        try:
            self._llm: AsyncLLM = start(
                model,
                config,
                seed=seed,
                max_context=max_context,
                sharing=sharing,
                words=self._words,
                adapters=adapters,
                meter=self._meter,
            )
        except BaseException:
            self._words.forget()
            raise
        self.repack = repack
        self._by_plan = sharing.transfer == "group"
        self._most_whole = sharing.most_whole
        self._vocab = int(self._llm.model_config.get_vocab_size())
        self._max_context = int(self._llm.model_config.max_model_len)
        # vLLM reports a row for every layer, of which our model fills its mixtures' first
        self._num_mixtures = getattr(self._llm.model_config.hf_config, "num_moe_layers", None)
        self._names = itertools.count()
        self._admission = asyncio.Lock()
        self._num_running = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._version = 0
        self._is_asleep = False
        self._met: Mapping[str, Any] = {}
        room = adapters.versions if adapters else 0
        self._adapters = ServedAdapters(self._llm, self._alive, room) if adapters else None
        self._opening = asyncio.Lock()
        self._is_open = self._is_closed = False
        self._broken = self._torn = ""

    async def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """See `munro.rollout.engine.Engine.generate`.

        A call that finds the engine idle is a lockstep batch: the prefix cache is emptied and the
        scheduler held while the requests queue up, so that neither history nor the timing of
        messages has a say in the result.

        Raises:
            PolicyError: the engine process is dead or refused.
            ValueError: a request that no engine could serve.
        """
        await self._open()
        self._require_serving()
        params = [self._sampling(request) for request in requests]
        with self._policy() as policy:
            async with self._admission:
                self._require_serving()  # an update may have torn it meanwhile
                running = await self._start([r.prompt_ids for r in requests], params, policy)
            done = await self._finish(running)
        version = policy.version if self._adapters else None
        return [
            completion(out, request, num_mixtures=self._num_mixtures, version=version)
            for out, request in zip(done, requests, strict=True)
        ]

    async def score(self, token_ids: Sequence[int], *, base: bool = False) -> NDArray[np.float32]:
        """See `munro.rollout.engine.Engine.score`. At most `max_context - 1` tokens."""
        await self._open()
        self._require_serving()
        self._check_length(token_ids)
        with self._policy() as policy:
            async with self._admission:
                self._require_serving()
                asked = Served() if base else policy
                running = [await self._add(token_ids, _one_token(prompt_logprobs=0), asked)]
            (done,) = await self._finish(running)
        return np.array([0.0, *done.prompt_logprobs.logprobs], np.float32)

    async def update_weights(self, source: WeightSource, *, drain: bool) -> None:
        """See `munro.rollout.engine.Engine.update_weights`.

        Without `drain` the running requests' keys and values are computed again from the new
        weights, so that each later token comes from one policy throughout.

        Raises:
            PolicyError: the file is missing, or could not be loaded; after the latter an engine of
                whole weights serves no more. One that takes them by plan is torn after half an
                update: it serves nothing until another comes to its end.
        """
        from vllm.distributed.weight_transfer.base import WeightTransferUpdateRequest

        await self._open()
        if self._adapters is not None:
            await self.wake()  # its base was kept: an adapter is loaded beside it
            await self._adapters.take(source)
            return
        if not source.update and not Path(source.path).is_file():
            raise PolicyError(f"weights of version {source.version}: no file at {source.path}")
        async with self._admission:
            if drain:
                await self._alive(self._idle.wait())
            update = dict(source.update) or {"path": source.path, "repack": self.repack}
            if self._by_plan:
                update = {"told": {**update, "session": uuid4().hex}, "repack": self.repack}
            await self._meet(source)
            try:
                await self._alive(self._core.pause_scheduler_async("keep", True))
                if self._torn:
                    await self._alive(self._llm.collective_rpc("munro_mend"))
                if self._is_asleep:
                    # keys and values need their room only once the weights have come
                    await self._alive(self._llm.wake_up(["weights"]))
                await self._alive(self._llm.start_weight_update())
                await self._alive(self._llm.update_weights(WeightTransferUpdateRequest(update)))
                await self._alive(self._llm.finish_weight_update(str(source.version)))
                if self._is_asleep:
                    await self._alive(self._llm.wake_up(["kv_cache"]))
                    self._is_asleep = False
            except (PolicyError, ValueError, asyncio.CancelledError) as error:
                said = f"the update to version {source.version} stopped half-way: {error}"
                self._torn, self._broken = (said, "") if self._by_plan else ("", said)
                raise
            self._version, self._torn = source.version, ""
            await self._alive(self._core.resume_scheduler_async())

    async def _meet(self, source: WeightSource) -> None:
        """Have vLLM's transfer engine find the learner, once."""
        from vllm.distributed.weight_transfer.base import WeightTransferInitRequest

        if source.meeting and source.meeting != self._met:
            told = dict(source.meeting)
            if self._by_plan:
                told = {"meeting": told, "most_whole": self._most_whole}
            request = WeightTransferInitRequest(told)
            await self._alive(self._llm.init_weight_transfer_engine(request))
            self._met = source.meeting

    async def sleep(self, *, level: int) -> None:
        """See `munro.rollout.engine.SleepingEngine.sleep`."""
        await self._open()
        async with self._admission:
            await self._alive(self._idle.wait())
            if not self._is_asleep:
                await self._alive(self._llm.sleep(level, "keep"))
                self._is_asleep = True

    async def wake(self) -> None:
        """See `munro.rollout.engine.SleepingEngine.wake`."""
        await self._open()
        async with self._admission:
            if self._is_asleep:
                await self._alive(self._llm.wake_up())
                self._is_asleep = False

    def _require_serving(self) -> None:
        if self._is_asleep:
            raise PolicyError("the inference engine sleeps, for the learner has its GPU's memory")
        if self._torn:
            raise PolicyError(self._torn)

    async def version(self) -> int:
        """See `munro.rollout.engine.Engine.version`: asks the engine process itself.

        -1 of a torn one, which has none.
        """
        await self._open()
        if self._adapters is not None:
            return await self._adapters.version()
        version = int(await self._alive(self._llm.get_weight_version()))
        return -1 if self._torn else version

    async def room(self) -> int | None:
        """See `munro.rollout.engine.SleepingEngine.room`."""
        cache = self._llm.vllm_config.cache_config
        # of layers that keep them in several ways vLLM itself says what that comes to
        told = getattr(cache, "kv_cache_size_tokens", None)
        return int(told or (cache.num_gpu_blocks or 0) * cache.block_size) or None

    def load(self) -> Load:
        """See `munro.rollout.engine.SleepingEngine.load`."""
        return self._meter.load

    async def close(self) -> None:
        """End the engine process and wait for it."""
        if not self._is_closed:
            self._is_closed = True
            self._llm.shutdown(timeout=CLOSE_S)
            self._words.forget()
            await asyncio.sleep(0)  # lets the output task take notice of its cancellation
            del self._llm
            gc.collect()  # its cycles hold semaphores, and complain when the interpreter ends

    def _policy(self) -> AbstractContextManager[Served]:
        """What the requests of a call are answered by, all of them to their end."""
        return self._adapters.held() if self._adapters else nullcontext(Served())

    @property
    def _core(self) -> AsyncMPClient:
        return self._llm.engine_core

    async def _open(self) -> None:
        """On the first call: what needs a running event loop, and one token from the model.

        A model that comes up may still have no kernel for its shapes: that shows at the first pass,
        and is better known before anybody waits for anything.
        """
        if self._is_closed:
            raise PolicyError("the inference engine has been closed")
        if self._broken:
            raise PolicyError(self._broken)
        async with self._opening:
            if self._is_open:
                return
            await self._alive(self._llm.update_weight_version(str(self._version)))
            async with self._admission:
                running = [await self._add([0], _one_token(), Served())]
            await self._finish(running)
            self._is_open = True

    def _sampling(self, request: Request) -> SamplingParams:
        """vLLM's parameters for one request."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        self._check_length(request.prompt_ids)
        if request.top_p < 1 and request.top_k <= 0:
            raise ValueError(
                f"request {request.key}: top_p = {request.top_p} needs top_k > 0, the number of "
                "candidates that a nucleus can be recorded from."
            )
        top_k = min(request.top_k, self._vocab)
        return SamplingParams(
            max_tokens=min(request.max_tokens, self._max_context - len(request.prompt_ids)),
            seed=request.seed,
            temperature=request.temperature,
            top_p=request.top_p,
            top_k=top_k,
            logprobs=top_k,
            stop_token_ids=list(request.stop_token_ids),
            ignore_eos=True,
            flat_logprobs=True,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )

    def _check_length(self, token_ids: Sequence[int]) -> None:
        if not 0 < len(token_ids) < self._max_context:
            raise ValueError(
                f"{len(token_ids)} tokens given; this engine takes 1 to {self._max_context - 1}, "
                "and needs room for one more."
            )

    async def _start(
        self,
        prompts: Sequence[Sequence[int]],
        params: Sequence[SamplingParams],
        policy: Served,
    ) -> list[RequestOutputCollector]:
        """Queue a call's sequences in order; all in one engine step, if nothing else runs."""
        running: list[RequestOutputCollector] = []
        is_alone = self._num_running == 0
        try:
            try:
                if is_alone:
                    await self._alive(self._core.pause_scheduler_async("keep", True))
                for prompt, how in zip(prompts, params, strict=True):
                    running.append(await self._add(prompt, how, policy))
            finally:
                if is_alone:
                    await self._alive(self._core.resume_scheduler_async())
        except BaseException:  # given up while the scheduler was being resumed, too
            await self._forget(running)
            raise
        return running

    async def _add(
        self, token_ids: Sequence[int], how: SamplingParams, policy: Served
    ) -> RequestOutputCollector:
        """Queue one sequence; the caller holds `_admission`, so that the order is the order."""
        from vllm.inputs import tokens_input

        prompt = tokens_input([int(token) for token in token_ids])
        name = str(next(self._names))
        queued = await self._alive(
            self._llm.add_request(name, prompt, how, lora_request=policy.request)
        )
        self._num_running += 1
        self._idle.clear()
        return queued

    async def _finish(self, running: Sequence[RequestOutputCollector]) -> list[RequestOutput]:
        """Wait for queued sequences; giving up frees their places."""
        try:
            done = [await self._alive(queued.get(), serving=True) for queued in running]
        except BaseException:
            await self._forget(running)
            raise
        self._count_off(len(running))
        return done

    async def _forget(self, running: Sequence[RequestOutputCollector]) -> None:
        """Take sequences out of the engine, finished or not."""
        self._count_off(len(running))
        if running and not self._is_closed and not self._llm.errored:
            await self._llm.abort([queued.request_id for queued in running], internal=True)

    def _count_off(self, num: int) -> None:
        self._num_running -= num
        if not self._num_running:
            self._idle.set()

    async def _alive(self, work: Coroutine[Any, Any, T], *, serving: bool = False) -> T:
        """Await `work`, but no longer than the engine process lives, or is whole where it serves.

        Raises:
            PolicyError: it died, was torn, or reported a failure (vLLM gives those no type).
            ValueError: vLLM refused what it was given.
        """
        from vllm.v1.engine.exceptions import EngineDeadError

        task = asyncio.ensure_future(work)
        try:
            while not task.done():
                await asyncio.wait({task}, timeout=PULSE_S)
                if serving and self._torn:
                    raise PolicyError(self._torn)
                if not task.done() and self._llm.errored:
                    raise PolicyError(self._words.after("the inference engine's process has died"))
        finally:
            task.cancel()
        error = task.exception()
        if error is None:
            return task.result()
        if isinstance(error, ValueError):
            raise error
        if isinstance(error, EngineDeadError):
            died = self._words.after("the inference engine's process has died")
            raise PolicyError(died) from error
        raise PolicyError(f"the inference engine failed: {error}") from error


def _one_token(**options: Any) -> SamplingParams:
    """One token more than was given."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(
        max_tokens=1,
        seed=0,
        flat_logprobs=True,
        detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
        **options,
    )
