"""The memory that each process of a climb will need, from the model's files and the config alone.

    learner   weights, gradients, moments, and what a micro-batch's backward pass keeps
    server    weights, and room for keys and values
    all       what Python and its libraries take

Of a process that is on a GPU too, what it needs there is told apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from munro.machine.climb.needs import transport_of
from munro.machine.climb.sizes import MIB, Loaded, Model, gpus_here, machine_bytes, model_of
from munro.machine.config import RunConfig
from munro.machine.loading import BadConfig
from munro.rl.policy.sizes import (
    CONTEXTS,
    TOKENS_ON_A_CPU,
    base_bytes,
    held,
    moment_bytes,
    reference_bytes,
)

GB = 1e9
GIB = 1 << 30
PUBLISHED = 3
"""Versions of the weights in shared memory: the newest two, and one that is being written."""
LIBRARIES = {"driver": 610, "server": 690, "engine": 880, "worker": 670, "learner": 490}
"""MiB of a process without what its model takes: seen at quickstarts with torch 2.13 for CPUs and
vLLM 0.32. Other builds differ; a probe sees how much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What a process needs, in bytes by what for."""

    name: str
    host: Mapping[str, float]
    gpu: Mapping[str, float]
    copies: int = 1

    @property
    def host_bytes(self) -> float:
        """Of one process."""
        return sum(self.host.values())

    @property
    def gpu_bytes(self) -> float:
        """Of one process."""
        return sum(self.gpu.values())


def resident_bytes(config: RunConfig, model: Path) -> int:
    """Of a GPU's memory that the learner holds between steps.

    Its weights and moments, and in bfloat16 what is on its way to the server.
    """
    learner = config.learner
    found, lora = model_of(model, learner.lora), learner.lora
    moments = 0.0 if learner.offload else moment_bytes(learner)
    # an adapter alone travels
    beside = moments + 2 + (4 if lora is not None else 0)
    whole = found.parameters * (base_bytes(learner) + reference_bytes(learner, on_gpu=True))
    return int(whole + found.trained * beside) + CONTEXTS


def needs_of(
    config: RunConfig,
    model: Model,
    *,
    loaded: Loaded,
    gpu_bytes: Sequence[int] = (),
    rough: bool = False,
) -> list[Need]:
    """What every process will need.

    Args:
        config: resolved.
        model: that it climbs from.
        loaded: of the tasks and the tokenizer.
        gpu_bytes: of each GPU here; none where everything runs on the CPU.
        rough: what is kept for the backward pass is to be told at once, and may be too much.
    """
    on_gpu = bool(gpu_bytes)
    rollout = config.rollout
    base = {name: {"libraries": size * MIB} for name, size in LIBRARIES.items()}
    own = {"tokenizer": float(loaded.tokenizer)}
    asking = own | {"environment": float(loaded.environment)}
    card = min(gpu_bytes, default=0)
    learned = _learner(config, model, prompt=loaded.prompt, gpu_bytes=card, rough=rough)
    served = _server(config, model, min(gpu_bytes, default=0))
    needs = [
        Need(name="driver", host=base["driver"] | asking, gpu={}),
        Need(name="worker", host=base["worker"] | asking, gpu={}, copies=rollout.workers),
        Need(
            name="learner",
            host=base["learner"] | ({} if on_gpu else learned),
            gpu=learned if on_gpu else {},
            copies=config.learner.ranks,
        ),
    ]
    if rollout.engine != "vllm":  # it runs in the server's own process
        alone = {"weights": model.parameters * (2.0 if on_gpu else 4.0)}
        host = base["server"] | ({} if on_gpu else alone)
        on_card = alone if on_gpu else {}
        needs.append(Need(name="server", host=host, gpu=on_card, copies=rollout.servers))
        return needs
    needs += [
        Need(name="server", host=base["server"] | own, gpu={}, copies=rollout.servers),
        Need(
            name="engine",
            host=base["engine"] | ({} if on_gpu else served),
            gpu=served if on_gpu else {},
            copies=rollout.servers,
        ),
    ]
    return needs


def _learner(
    config: RunConfig, model: Model, *, prompt: int, gpu_bytes: int, rough: bool
) -> dict[str, float]:
    from munro.rl.policy.footprint import kept_bytes, roughly_kept_bytes

    learner, on_gpu = config.learner, bool(gpu_bytes)
    longest = prompt + config.length.stages[0]
    whole = config.batch.num_groups * config.rollout.group_size * longest
    budget = learner.token_budget or token_budget(config, model, gpu_bytes)
    tokens = max(min(budget, whole // learner.ranks), longest)
    again = learner.activation_checkpointing
    if rough:
        kept = roughly_kept_bytes(model.path, num_tokens=tokens, checkpointing=again)
    else:
        kept = kept_bytes(
            model.path,
            num_tokens=tokens,
            row=longest,
            checkpointing=again,
            halved=learner.in_bfloat16(on_gpu=on_gpu),
        )
    scored = min(tokens * config.length.stages[0] // longest, learner.logits_chunk)
    own = held(learner, parameters=model.parameters, trained=model.trained, on_gpu=on_gpu)
    return own | {
        "activations": float(kept),
        # kept for the backward pass, and their gradient
        "logits": 2 * 4.0 * scored * model.vocabulary if config.rollout.top_p == 1 else 0.0,
    }


def token_budget(config: RunConfig, model: Model, gpu_bytes: int) -> int:
    """What `learner.token_budget = 0` comes to: tokens of a micro-batch."""
    if not gpu_bytes:
        return TOKENS_ON_A_CPU
    from munro.rl.policy import footprint

    return footprint.token_budget(
        model.path,
        config.learner,
        parameters=model.parameters,
        trained=model.trained,
        vocabulary=model.vocabulary,
        gpu_bytes=gpu_bytes,
    )


def _server(config: RunConfig, model: Model, gpu_bytes: int) -> dict[str, float]:
    rollout = config.rollout
    if gpu_bytes:
        weights = 2.0 * model.parameters / rollout.tensor_parallel
        share = rollout.gpu_memory * gpu_bytes
        if config.ray.colocate:
            share = min(share, gpu_bytes - resident_bytes(config, model.path))
        return {"weights": weights, "keys and values": max(0.0, share - weights - CONTEXTS / 2)}
    head = 4.0 * model.vocabulary * model.width
    return {
        "weights": 4.0 * model.parameters,
        # the output layer multiplies by a copy of its own
        "packed output matrix": head if model.tied else 0.0,
        "weights on their way": 4.0 * model.parameters,
        "keys and values": rollout.cpu_kv_cache_gb * GIB,
        "logits": 3 * 4.0 * min(rollout.max_batch, _at_once(config)) * model.vocabulary,
    }


def _at_once(config: RunConfig) -> int:
    """Sequences that the workers have open at most."""
    rollout, groups = config.rollout, config.batch.num_groups
    if config.sync.max_staleness:
        if rollout.groups_in_flight == "auto":
            return rollout.max_batch
        groups = rollout.groups_in_flight * rollout.workers
    return groups * rollout.group_size


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """Room for keys and values in one server."""

    tokens: int
    longest: int
    """Tokens of the longest sequence."""
    sequences: int
    """Of that length, at once."""


def room_of(config: RunConfig, model: Model, needs: Sequence[Need]) -> Room | None:
    """How much a server can have under way; None where it cannot be said."""
    engine = next((need for need in needs if need.name == "engine"), None)
    if engine is None or not model.numbers_per_token:
        return None
    held = engine.gpu or engine.host
    size = 2 if engine.gpu or config.rollout.dtype == "bfloat16" else 4
    tokens = int(held["keys and values"] * config.rollout.tensor_parallel) // (
        size * model.numbers_per_token
    )
    longest = config.rollout.max_context or model.context
    return Room(
        tokens=tokens,
        longest=longest,
        sequences=min(config.rollout.max_batch, tokens // longest if longest else tokens),
    )


def shared_memory(config: RunConfig, model: Model, *, on_gpu: bool) -> float:
    """Bytes of the weights that lie in shared memory for the servers."""
    if config.sync.weights_folder or transport_of(config, on_gpu=on_gpu) != "file":
        return 0.0
    size = 2.0 if on_gpu and config.learner.lora is None else 4.0
    return PUBLISHED * size * model.trained


def total_host(needs: Sequence[Need], published: float) -> float:
    """Bytes of the host's memory in all."""
    return sum(need.host_bytes * need.copies for need in needs) + published


def lacking(
    needs: Sequence[Need],
    room: Room | None,
    published: float,
    *,
    memory: int,
    gpus: Sequence[int],
) -> str:
    """What cannot fit here, in a sentence; empty where all can.

    Args:
        needs: of every process.
        room: for keys and values.
        published: bytes of weights in shared memory.
        memory: of the machine.
        gpus: bytes of each.
    """
    total = total_host(needs, published)
    if total > memory:
        most = sorted(needs, key=lambda need: -need.host_bytes * need.copies)[:2]
        who = " and ".join(f"{need.name} {need.host_bytes * need.copies / GB:.1f}" for need in most)
        return (
            f"the climb needs about {total / GB:.1f} GB of memory ({who} of it), and this machine "
            f"has {memory / GB:.1f}. Lower learner.token_budget, rollout.cpu_kv_cache_gb or "
            "rollout.servers, set learner.activation_checkpointing = true, or take a smaller model."
        )
    for need in needs:
        if gpus and need.gpu_bytes > min(gpus):
            return (
                f"the {need.name} needs about {need.gpu_bytes / GB:.1f} GB of a GPU's memory "
                f"({_parts(need.gpu)}), and a GPU here has {min(gpus) / GB:.1f}. Lower "
                "learner.token_budget, set learner.activation_checkpointing = true or "
                "learner.offload = true, raise learner.ranks or rollout.tensor_parallel, or take "
                "a smaller model."
            )
    if room is not None and room.tokens < room.longest:
        key = "rollout.gpu_memory" if gpus else "rollout.cpu_kv_cache_gb"
        return (
            f"a server has room for the keys and values of {room.tokens} tokens, and one sequence "
            f"may have {room.longest}. Raise {key}, or lower rollout.max_context."
        )
    return ""


def _parts(parts: Mapping[str, float]) -> str:
    told = sorted(parts.items(), key=lambda part: -part[1])
    return ", ".join(f"{name} {size / GB:.1f}" for name, size in told if size >= 0.05 * GB)


def told(need: Need) -> str:
    """A line for a person."""
    several = f" x {need.copies}" if need.copies > 1 else ""
    line = f"{need.name}{several} {need.host_bytes / GB:.1f} GB"
    if parts := _parts({k: v for k, v in need.host.items() if k != "libraries"}):
        line += f" ({parts})"
    if need.gpu:
        line += f", on its GPU {need.gpu_bytes / GB:.1f} GB ({_parts(need.gpu)})"
    return line


def require_room(
    config: RunConfig, path: Path, loaded: Loaded, *, rough: bool = False
) -> tuple[list[Need], Room | None]:
    """What every process needs, and the room for keys and values.

    Args:
        config: resolved.
        path: of the model.
        loaded: of the tasks and the tokenizer.
        rough: figures may be too high, as long as all fits even so.

    Raises:
        BadConfig: it cannot fit on this machine. A cluster's nodes are not looked at.
    """
    gpus, model = gpus_here(), model_of(path, config.learner.lora)
    needs = needs_of(config, model, loaded=loaded, gpu_bytes=gpus, rough=rough)
    room = room_of(config, model, needs)
    published = shared_memory(config, model, on_gpu=bool(gpus))
    what = lacking(needs, room, published, memory=machine_bytes(), gpus=gpus)
    if what and rough:
        return require_room(config, path, loaded)
    if what and not config.ray.address:
        raise BadConfig(what)
    return needs, room
