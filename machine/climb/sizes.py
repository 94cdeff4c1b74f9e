"""How large things are: a model by its files, this machine, its GPUs."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil

from munro.base_model.adapters.config import LoraConfig
from munro.base_model.checkpoint import Checkpoint
from munro.envs.types import Task
from munro.machine.loading import BadConfig
from munro.rewards.serving.architectures import register_architectures

T = TypeVar("T")
MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What is asked of a model's files."""

    parameters: int
    """Tied ones once."""
    trained: int
    """Those that the learner trains: all, or an adapter's."""
    vocabulary: int
    width: int
    numbers_per_token: int
    """That the keys and values of a token are; 0 where its config does not say."""
    tied: bool
    context: int
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What is known once a task was looked at and its prompt read."""

    prompt: int
    """Tokens of the task's prompt."""
    environment: int = 0
    """Bytes that a process grows by which loads the environments."""
    tokenizer: int = 0
    """Bytes that a process grows by which loads the tokenizer."""


def grown(load: Callable[[], T]) -> tuple[T, int]:
    """What `load` returns, and the bytes of memory that this process took for it."""
    before = _taken()
    result = load()
    return result, max(0, *(now - then for now, then in zip(_taken(), before, strict=True)))


def _taken() -> tuple[int, int]:
    """Bytes of this process in memory, and those of them that are its own or swapped out: where
    memory is short the kernel takes pages of files back at any time."""
    all_of_it = psutil.Process().memory_info().rss
    status = Path("/proc/self/status")
    if not status.exists():  # not Linux
        return all_of_it, all_of_it
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
    own = sum(int(lines.get(name, "0 kB").split()[0]) for name in ("RssAnon", "VmSwap"))
    return all_of_it, own << 10


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


def model_of(path: Path, lora: LoraConfig | None = None) -> Model:
    """Read a checkpoint's config and the headers of its weights; of an adapter, its base's.

    Args:
        path: of the checkpoint.
        lora: the adapter that is trained, if one is.

    Raises:
        BadConfig: as `model_config`.
        BadAdapter: the adapter cannot be on this model.
        CheckpointError: it is an adapter whose base is gone.
    """
    path = Checkpoint(path).base()
    whole = num_parameters(path)
    config = model_config(path)
    text = config.get_text_config()
    heads = int(getattr(text, "num_attention_heads", 0) or 0)
    shared = int(getattr(text, "num_key_value_heads", 0) or heads)
    width = int(getattr(text, "hidden_size", 0) or 0)
    layers = int(getattr(text, "num_hidden_layers", 0) or 0)
    each = int(getattr(text, "head_dim", 0) or (width // heads if heads else 0))
    return Model(
        parameters=whole,
        trained=whole if lora is None else adapter_parameters(path, lora),
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


def adapter_parameters(model: Path, lora: LoraConfig) -> int:
    """Numbers in an adapter of a model.

    Raises:
        BadAdapter: it cannot be on this model.
    """
    from munro.base_model.adapters.attach import choose

    skeleton = Checkpoint(model).model(device_map="meta")
    chosen = [skeleton.get_submodule(name).weight for name in choose(skeleton, lora.modules)]
    return sum(lora.rank * sum(weight.shape) for weight in chosen)


def loaded(model: Path, task: Task, environment: int = 0) -> Loaded:
    """The tokens of a task's messages, without what a template puts around them, and their price.

    Args:
        model: its folder.
        task: one of those that are to be climbed on.
        environment: bytes that loading it took, where that was looked at.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer, size = grown(lambda: AutoTokenizer.from_pretrained(model))
    except (OSError, ValueError):
        # who needs it to work with will say what is wrong with it
        return Loaded(prompt=0, environment=environment)
    tokens = sum(len(tokenizer.encode(message.content)) for message in task.messages)
    return Loaded(prompt=tokens, environment=environment, tokenizer=size)


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
