"""The CPU worker inside vLLM's engine process, with our sampling rule in place of vLLM's.

vLLM sorts the whole vocabulary for top-p, and keeps every token tied with the last of the top-k.
`munro.rollout.nucleus` looks at K candidates only and keeps exactly those it reports. Batches it
has no rule for (an unseeded request, a penalty) go to vLLM's own sampler.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.outputs import LogprobsTensors, SamplerOutput
from vllm.v1.sample.metadata import SamplingMetadata
from vllm.v1.sample.sampler import Sampler
from vllm.v1.worker.cpu_worker import CPUWorker

from munro.kernels import vector_math
from munro.rollout.nucleus import sample, uniforms
from munro.rollout.vllm.grouped import use_grouped
from munro.rollout.vllm.norms import use_kernels
from munro.rollout.vllm.routing import RoutingStore, Rows


class NucleusSampler(Sampler):  # type: ignore[misc]
    """vLLM's sampler, but for batches of seeded requests that only want top-k and top-p."""

    def forward(
        self, logits: Tensor, sampling_metadata: SamplingMetadata, *args: Any, **kwargs: Any
    ) -> SamplerOutput:
        """Sample one token for every row of `logits` ([B, V])."""
        meta = sampling_metadata
        if args or kwargs or not is_plain(meta):
            return super().forward(logits, meta, *args, **kwargs)
        B, V = logits.shape
        drawn = sample(
            logits,
            meta.temperature,
            torch.full((B,), V) if meta.top_k is None else meta.top_k.long(),
            torch.ones(B) if meta.top_p is None else meta.top_p,
            uniforms(meta.generators[row] for row in range(B)),
        )
        reported = None
        if meta.max_num_logprobs is not None:
            reported = LogprobsTensors(
                torch.cat([drawn.token[:, None], drawn.candidates], dim=-1).to(torch.int32),
                torch.cat([drawn.logp[:, None], drawn.candidate_logp], dim=-1),
                torch.zeros(B, dtype=torch.int64),  # ranks: not computed, nobody asks
            )
        return SamplerOutput(
            sampled_token_ids=drawn.token.to(torch.int32)[:, None], logprobs_tensors=reported
        )


def is_plain(meta: SamplingMetadata) -> bool:
    """Every row is seeded and nothing but temperature, top-k and top-p shapes its distribution."""
    return (
        meta.all_random
        and len(meta.generators) == len(meta.temperature)
        and meta.no_penalties
        and meta.allowed_token_ids_mask is None
        and not meta.bad_words_token_ids
        and not meta.logprob_token_ids
    )


class Worker(CPUWorker):  # type: ignore[misc]
    """vLLM's CPU worker with `NucleusSampler`; reports the experts of models that tell them."""

    _store: RoutingStore | None = None
    _news: dict[str, Rows] | None = None

    def load_model(self, **kwargs: Any) -> None:
        """Settle torch's functions, load, change the sampler, norms and how adapters multiply."""
        vector_math.settle()
        use_grouped()
        use_kernels()
        super().load_model(**kwargs)
        runner = self.model_runner
        runner.sampler = NucleusSampler(logprobs_mode=runner.model_config.logprobs_mode)

    def execute_model(self, scheduler_output: SchedulerOutput) -> Any:
        """One pass; notes what its mixtures chose."""
        output = super().execute_model(scheduler_output)
        runner = self.model_runner
        routed = getattr(runner.model, "routed", None)
        self._news = None
        if routed is not None:
            self._store = self._store or RoutingStore(runner.kv_cache_config)
            self._store.forget(scheduler_output.finished_req_ids)
            num = scheduler_output.total_num_scheduled_tokens
            if num:
                rows = routed[:num].to(torch.int16).numpy()
                scheduled = scheduler_output.num_scheduled_tokens
                self._news = self._store.take(rows, runner.input_batch, scheduled)
        return output

    def sample_tokens(self, grammar_output: Any) -> Any:
        """Sample; the step's experts go with what it says."""
        output = super().sample_tokens(grammar_output)
        if self._news:
            output.aux_output_connector_output = self._news
        return output
