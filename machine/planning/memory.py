"""What a learner rank and a server's GPU hold, by what for; and what cannot fit, in a sentence.

Weights, gradients, moments: `munro.rl.policy.sizes.held`, by which `--dry-run` reckons too. What
the backward pass keeps: counted from the model's sizes by coefficients that PyTorch's own account
of saved tensors gave (tests/machine/planning/test_memory.py holds them against each other).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from munro.machine.errors import BadConfig
from munro.machine.planning.job import Job
from munro.machine.planning.sizes import Layer, Sizes
from munro.rl.policy.sizes import (
    CONTEXTS,
    SHARE,
    TOKENS_ON_A_CPU,
    base_bytes,
    held,
    tokens_that_fit,
)

GATHERED = 2
"""Units of FSDP that are whole at once: one that computes, and the next on its way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Bytes that a token keeps in a layer for the backward pass, by the widths of what is kept."""

    width: float
    mixture_width: float
    """The same in a layer of experts."""
    query: float
    key: float
    inner: float
    at: float
    """Of the width that experts work in: before they are parted, and for each chosen one."""
    at_each: float
    expert_inner: float


OURS = Kept(width=36, mixture_width=42, query=16, key=14, inner=8, at=5, at_each=2, expert_inner=4)
OURS_ON_A_CPU = Kept(
    width=40, mixture_width=40, query=20, key=12, inner=16, at=8, at_each=4, expert_inner=8
)
OTHERS = Kept(
    width=16, mixture_width=16, query=10, key=10, inner=8, at=2, at_each=2, expert_inner=8
)
OTHERS_ON_A_CPU = Kept(
    width=24, mixture_width=24, query=16, key=16, inner=16, at=4, at_each=4, expert_inner=16
)
SCORED = 4
"""Bytes that a token keeps of every expert's score,"""
CHOSEN = 32
"""and of every choice."""


def kept_per_token(sizes: Sizes, layer: Layer, *, on_gpu: bool) -> float:
    """Bytes that a token keeps in one layer."""
    if sizes.wide_residual:
        how = OURS if on_gpu else OURS_ON_A_CPU
    else:
        how = OTHERS if on_gpu else OTHERS_ON_A_CPU
    query, key = sizes.heads * sizes.head_dim, sizes.kv_heads * sizes.head_dim
    kept = how.query * query + how.key * key + how.inner * layer.inner
    if not layer.experts:
        return kept + how.width * sizes.width
    each = how.at_each * layer.at + how.expert_inner * layer.expert_inner + CHOSEN
    kept += layer.top_k * each + how.at * layer.at + SCORED * layer.num_experts
    return kept + how.mixture_width * sizes.width


def activations_per_token(job: Job) -> float:
    """Bytes that a token of a micro-batch keeps in all layers."""
    sizes, on_gpu = job.sizes, job.hardware.on_gpu
    each = [kept_per_token(sizes, layer, on_gpu=on_gpu) for layer in sizes.layers]
    if not job.config.learner.activation_checkpointing:
        return sum(each)
    # each layer's input, and one layer computed again
    stream = 4 if sizes.wide_residual or not on_gpu else 2
    return stream * sizes.width * len(each) + max(each)


def micro_tokens(job: Job) -> int:
    """Tokens of a micro-batch on one rank: the budget, or what a rank has of the longest."""
    longest = (job.plan.prompt_tokens + job.lengths.cap) // job.cut.context
    return max(_budget(job), longest)


def _budget(job: Job) -> int:
    learner = job.config.learner
    if learner.token_budget:
        return learner.token_budget
    if not job.hardware.on_gpu:
        return TOKENS_ON_A_CPU
    room = SHARE * job.hardware.memory - CONTEXTS - sum(_standing(job).values()) - _logits(job)
    return tokens_that_fit(room, activations_per_token(job))


def _logits(job: Job) -> float:
    learner = job.config.learner
    # with a nucleus replayed, only what was kept of it has logits for the backward pass
    wide = job.config.rollout.top_p == 1
    return 2 * 4.0 * learner.logits_chunk * job.sizes.vocabulary if wide else 0.0


def learner_memory(job: Job) -> dict[str, float]:
    """Bytes of one learner rank at the peak of a step, by what for."""
    tokens = micro_tokens(job)
    return _standing(job) | {
        "activations": activations_per_token(job) * tokens,
        "logits": _logits(job),
    }


def _standing(job: Job) -> dict[str, float]:
    """Whatever the micro-batch: weights and what belongs to them, as they are cut."""
    learner, sizes, cut = job.config.learner, job.sizes, job.cut
    trained = trained_parameters(job)
    on_gpu, several = job.hardware.on_gpu, cut.shards > 1
    as_cut = learner.model_copy(update={"ranks": cut.shards})
    parts = held(as_cut, parameters=sizes.parameters, trained=trained, on_gpu=on_gpu)
    if several and learner.reduce_once and trained == sizes.parameters:
        # experts that other ranks hold have no gradient here
        parts["gradients"] -= 4.0 * sizes.experts * (1 - 1 / cut.experts)
    parts["gathered"] = _gathered(job) if several else 0.0
    parts["contexts"] = float(CONTEXTS) if on_gpu else 0.0
    return {name: size for name, size in parts.items() if size}


def _gathered(job: Job) -> float:
    """Weights that are whole for a while, and the gradients of a layer until they are summed."""
    sizes, word = job.sizes, job.hardware.word
    whole = [layer.dense + layer.experts / job.cut.experts for layer in sizes.layers]
    root = sizes.embeddings * word
    summed = 0.0 if job.config.learner.reduce_once else 4.0 * max(whole)
    return root + GATHERED * word * max(whole) + summed


def trained_parameters(job: Job) -> float:
    """Parameters that the learner trains; of an adapter, those on all matrices of all layers."""
    lora, sizes = job.config.learner.lora, job.sizes
    if lora is None:
        return sizes.parameters
    query, key = sizes.heads * sizes.head_dim, sizes.kv_heads * sizes.head_dim
    rims = 0
    for layer in sizes.layers:
        rims += 4 * sizes.width + 2 * query + 2 * key  # queries, keys, values, output
        rims += 3 * (sizes.width + layer.inner)
    return float(lora.rank * rims)


def server_weights(job: Job) -> float:
    """Bytes of weights on each GPU of a server."""
    return job.hardware.word * job.sizes.parameters / job.config.rollout.tensor_parallel


def cache_bytes(job: Job) -> float:
    """Bytes for keys and values on each GPU of a server."""
    rollout, hardware = job.config.rollout, job.hardware
    if not hardware.on_gpu:
        return rollout.cpu_kv_cache_gb * (1 << 30)
    share = rollout.gpu_memory * hardware.memory
    if job.config.ray.colocate:
        learner = job.config.learner
        resident = job.sizes.parameters * base_bytes(learner) + CONTEXTS
        share = min(share, hardware.memory - resident)
    return share - server_weights(job) - CONTEXTS / 2


def require_room(job: Job) -> None:
    """Refuse what cannot fit.

    Raises:
        BadConfig: which part, how much, and what to change.
    """
    hardware, rollout = job.hardware, job.config.rollout
    learner, room = learner_memory(job), cache_bytes(job)
    if not hardware.on_gpu:
        _require_host(job, sum(learner.values()))
        return
    if sum(learner.values()) > hardware.memory:
        raise BadConfig(
            f"a learner rank needs about {amount(sum(learner.values()))} "
            f"({parts(learner)}), and {hardware.kind} has {amount(hardware.memory)}. "
            f"{_mend(job, learner)}"
        )
    if room <= 0:
        raise BadConfig(
            f"each GPU of a server has {amount(server_weights(job))} of weights, and "
            f"rollout.gpu_memory = {rollout.gpu_memory} of {amount(hardware.memory)} leaves no "
            "room for keys and values. Raise rollout.tensor_parallel, or take a smaller model."
        )
    longest = sequence_bytes(job, job.plan.prompt_tokens + job.lengths.cap)
    if longest > room * rollout.tensor_parallel:
        raise BadConfig(
            f"the keys and values of one sequence of {job.plan.prompt_tokens + job.lengths.cap:,} "
            f"tokens take {amount(longest)}, and a server has room for "
            f"{amount(room * rollout.tensor_parallel)}. Raise rollout.tensor_parallel or "
            "rollout.gpu_memory, or lower length.stages."
        )


def _require_host(job: Job, rank: float) -> None:
    rollout, ranks = job.config.rollout, job.cut.ranks
    server = server_weights(job) + cache_bytes(job)
    total = ranks * rank + rollout.servers * server
    if total > job.hardware.memory:
        raise BadConfig(
            f"{ranks} learner rank(s) of about {amount(rank)} ({parts(learner_memory(job))}) "
            f"and {rollout.servers} server(s) of {amount(server)} come to {amount(total)}, "
            f"and this machine has {amount(job.hardware.memory)}. Take a smaller model, plan for "
            "GPUs with plan.hardware.kind, or lower learner.token_budget and rollout.servers."
        )


def _mend(job: Job, parts_of: Mapping[str, float]) -> str:
    """What would help most against the largest part."""
    learner = job.config.learner
    most = max(parts_of, key=lambda name: parts_of[name])
    if most == "activations" and not learner.activation_checkpointing:
        return "Set learner.activation_checkpointing = true."
    if most == "activations":
        return "Lower learner.token_budget or the last of length.stages."
    if most == "gradients" and job.cut.shards > 1 and learner.reduce_once:
        return (
            "Set learner.reduce_once = false: until a step's gradients are summed, every rank "
            "holds those of the whole model."
        )
    if most == "gathered":
        return "One layer is gathered whole on every rank: take a smaller model, or larger GPUs."
    if most == "moments" and not learner.offload:
        return "Raise learner.ranks, or set learner.offload = true."
    return "Raise learner.ranks, or take a smaller model."


def sequence_bytes(job: Job, tokens: float) -> float:
    """Of the keys and values of a sequence of so many tokens."""
    return job.hardware.word * job.sizes.cached_numbers(tokens)


def parts(found: Mapping[str, float]) -> str:
    """The parts of a memory, largest first, for a person."""
    told = sorted(found.items(), key=lambda part: -part[1])
    least = 0.01 * sum(found.values())
    return ", ".join(f"{name} {amount(size)}" for name, size in told if size >= least)


def amount(size: float) -> str:
    """Bytes for a person."""
    for unit, word in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "KB")):
        if size >= unit:
            digits = 0 if size >= 100 * unit else 1
            return f"{size / unit:,.{digits}f} {word}"
    return f"{size:,.0f} bytes"
