"""The memory that each process of a climb will need, from the model's files and the config alone.

    learner   weights, gradients, moments, and what a micro-batch's backward pass keeps
    server    weights, and room for keys and values
    all       what Python and its libraries take

Of a process that is on a GPU too, what it needs there is told apart.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from munro.base_model.checkpoint import Checkpoint
from munro.envs.types import Task
from munro.machine.climb.adapters import num_trained
from munro.machine.climb.needs import transfer_of
from munro.machine.config import RunConfig
from munro.machine.loading import BadConfig
from munro.rewards.serving.architectures import register_architectures

GB = 1e9
MIB, GIB = 1 << 20, 1 << 30
CONTEXTS = 2 * GIB
"""What CUDA, cuBLAS and two processes' allocators take of a GPU beside tensors: an assumption."""
PUBLISHED = 3
"""Versions of the weights in shared memory: the newest two, and one that is being written."""
LIBRARIES = {"driver": 610, "server": 690, "engine": 880, "worker": 535, "learner": 490}
"""MiB of a process without what its model takes: seen at quickstarts with torch 2.13 for CPUs and
vLLM 0.32. Other builds differ; a probe sees how much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What is asked of a model's files."""

    parameters: int
    """Tied ones once."""
    vocabulary: int
    width: int
    numbers_per_token: int
    """That the keys and values of a token are; 0 where its config does not say."""
    tied: bool
    context: int
    path: Path


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


def model_config(model: Path) -> Any:
    """transformers' config of a checkpoint.

    Raises:
        BadConfig: it knows no such model.
    """
    from transformers import AutoConfig

    register_architectures()
    try:
        return AutoConfig.from_pretrained(model)
    except (OSError, ValueError) as error:
        what = str(error).splitlines()[0]
        raise BadConfig(f"{model} is no model that transformers can load: {what}") from error


def model_of(path: Path) -> Model:
    """Read a checkpoint's config and the headers of its weights.

    Of an adapter, its base's.

    Raises:
        BadConfig: as `model_config`.
        CheckpointError: the adapter's base is gone or another.
    """
    path = Checkpoint(path).base()
    config = model_config(path)
    text = config.get_text_config()
    heads = int(getattr(text, "num_attention_heads", 0) or 0)
    shared = int(getattr(text, "num_key_value_heads", 0) or heads)
    width = int(getattr(text, "hidden_size", 0) or 0)
    layers = int(getattr(text, "num_hidden_layers", 0) or 0)
    each = int(getattr(text, "head_dim", 0) or (width // heads if heads else 0))
    return Model(
        parameters=num_parameters(path),
        vocabulary=int(text.vocab_size),
        width=width,
        numbers_per_token=2 * layers * shared * each,
        tied=bool(getattr(config, "tie_word_embeddings", False)),
        context=int(getattr(text, "max_position_embeddings", 0) or 0),
        path=path,
    )


def num_parameters(model: Path) -> int:
    """Numbers in a checkpoint's safetensors files, by their headers; tied ones are there once."""
    total = 0
    for file in sorted(model.glob("*.safetensors")):
        with file.open("rb") as opened:
            header = json.loads(opened.read(int.from_bytes(opened.read(8), "little")))
        header.pop("__metadata__", None)
        for weight in header.values():
            size = 1
            for extent in weight["shape"]:
                size *= extent
            total += size
    return total


def prompt_tokens(model: Path, task: Task) -> int:
    """Of a task's messages, without what a template puts around them."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(model)
    except (OSError, ValueError):
        return 0  # who needs it to work with will say what is wrong with it
    return sum(len(tokenizer.encode(message.content)) for message in task.messages)


def moment_bytes(config: RunConfig) -> float:
    """Of the optimizer's moments, a parameter."""
    return {"adamw": 8.0, "adamw8bit": 2.1, "muon": 4.0}[config.learner.optimizer]


def resident_bytes(config: RunConfig, model: Path) -> int:
    """Of a GPU's memory that the learner holds between steps.

    Its weights and moments, and in bfloat16 what is on its way to the server.
    """
    moments = 0.0 if config.learner.offload else moment_bytes(config)
    reference = 4 if config.learner.kl_weight else 0
    whole, trained = num_parameters(model), num_trained(config, model)
    if trained is not None:
        return int(whole * (4 + reference) + trained * (4 + moments + 2)) + CONTEXTS
    return int(whole * (4 + reference + moments + 2)) + CONTEXTS


def needs_of(
    config: RunConfig,
    model: Model,
    *,
    prompt: int,
    gpu_bytes: Sequence[int] = (),
    rough: bool = False,
) -> list[Need]:
    """What every process will need.

    Args:
        config: resolved.
        model: that it climbs from.
        prompt: tokens of a task's prompt.
        gpu_bytes: of each GPU here; none where everything runs on the CPU.
        rough: what is kept for the backward pass is to be told at once, and may be too much.
    """
    on_gpu = bool(gpu_bytes)
    rollout = config.rollout
    base = {name: {"libraries": size * MIB} for name, size in LIBRARIES.items()}
    held = _learner(config, model, prompt=prompt, on_gpu=on_gpu, rough=rough)
    served = _server(config, model, min(gpu_bytes, default=0))
    needs = [
        Need(name="driver", host=base["driver"], gpu={}),
        Need(name="worker", host=base["worker"], gpu={}, copies=rollout.workers),
        Need(
            name="learner",
            host=base["learner"] | ({} if on_gpu else held),
            gpu=held if on_gpu else {},
            copies=config.learner.ranks,
        ),
    ]
    if rollout.engine == "transformers":
        alone = {"weights": model.parameters * (2.0 if on_gpu else 4.0)}
        host = base["server"] | ({} if on_gpu else alone)
        on_card = alone if on_gpu else {}
        needs.append(Need(name="server", host=host, gpu=on_card, copies=rollout.servers))
        return needs
    needs += [
        Need(name="server", host=base["server"], gpu={}, copies=rollout.servers),
        Need(
            name="engine",
            host=base["engine"] | ({} if on_gpu else served),
            gpu=served if on_gpu else {},
            copies=rollout.servers,
        ),
    ]
    return needs


def _learner(
    config: RunConfig, model: Model, *, prompt: int, on_gpu: bool, rough: bool
) -> dict[str, float]:
    from munro.rl.policy.footprint import kept_bytes, roughly_kept_bytes

    learner = config.learner
    each, trained = model.parameters / learner.ranks, sent_numbers(config, model) / learner.ranks
    longest = prompt + config.length.stages[0]
    whole = config.batch.num_groups * config.rollout.group_size * longest
    tokens = max(min(learner.token_budget, whole // learner.ranks), longest)
    again = learner.activation_checkpointing
    if rough:
        kept = roughly_kept_bytes(model.path, num_tokens=tokens, checkpointing=again)
    else:
        kept = kept_bytes(
            model.path, num_tokens=tokens, row=longest, checkpointing=again, on_gpu=on_gpu
        )
    scored = min(tokens * config.length.stages[0] // longest, learner.logits_chunk)
    away = on_gpu and learner.offload
    return {
        "weights": 4 * each,
        "gradients": 4 * trained,
        "moments": 0.0 if away else moment_bytes(config) * trained,
        "activations": float(kept),
        # what it is kept near to
        "reference": 4 * each if learner.kl_weight else 0.0,
        # kept for the backward pass, and their gradient
        "logits": 2 * 4.0 * scored * model.vocabulary if config.rollout.top_p == 1 else 0.0,
    }


def sent_numbers(config: RunConfig, model: Model) -> int:
    """Numbers that are trained and travel to the servers: the model's, or its adapter's."""
    trained = num_trained(config, model.path)
    return model.parameters if trained is None else trained


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
        "weights on their way": 4.0 * sent_numbers(config, model),
        "keys and values": rollout.cpu_kv_cache_gb * GIB,
        "logits": 3 * 4.0 * min(rollout.max_batch, _at_once(config)) * model.vocabulary,
    }


def _at_once(config: RunConfig) -> int:
    """Sequences that the workers have open at most."""
    groups = (
        config.batch.num_groups
        if config.sync.max_staleness == 0
        else (config.rollout.groups_in_flight * config.rollout.workers)
    )
    return groups * config.rollout.group_size


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


def machine_bytes() -> int:
    """Memory of this machine, or of the container that this process is in."""
    limits = [int(psutil.virtual_memory().total)]
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(file).read_text().strip()
        except OSError:
            continue
        if text.isdigit():
            limits.append(int(text))
    return min(limits)


def gpus_here() -> list[int]:
    """Bytes of each GPU, by nvidia-smi: torch would make itself at home on them."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    asked = [tool, "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    said = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
    return [int(line) * MIB for line in said.splitlines() if line.strip().isdigit()]


def shared_memory(config: RunConfig, model: Model, *, on_gpu: bool) -> float:
    """Bytes of the weights that lie in shared memory for the servers."""
    if config.sync.weights_folder or transfer_of(config, on_gpu=on_gpu) != "file":
        return 0.0
    return PUBLISHED * (2.0 if on_gpu else 4.0) * sent_numbers(config, model)


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
    config: RunConfig, path: Path, prompt: int, *, rough: bool = False
) -> tuple[list[Need], Room | None]:
    """What every process needs, and the room for keys and values.

    Args:
        config: resolved.
        path: of the model.
        prompt: tokens of a task's prompt.
        rough: figures may be too high, as long as all fits even so.

    Raises:
        BadConfig: it cannot fit on this machine. A cluster's nodes are not looked at.
    """
    gpus, model = gpus_here(), model_of(path)
    needs = needs_of(config, model, prompt=prompt, gpu_bytes=gpus, rough=rough)
    room = room_of(config, model, needs)
    published = shared_memory(config, model, on_gpu=bool(gpus))
    what = lacking(needs, room, published, memory=machine_bytes(), gpus=gpus)
    if what and rough:
        return require_room(config, path, prompt)
    if what and not config.ray.address:
        raise BadConfig(what)
    return needs, room
