"""A policy of which only an adapter is trained: from a checkpoint's folder to the model."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch

from munro.base_model.adapters import files
from munro.base_model.adapters.attach import attach, set_weights
from munro.base_model.adapters.config import LoraConfig
from munro.base_model.adapters.errors import BadAdapter
from munro.base_model.checkpoint import Checkpoint, CheckpointError


def base_folder(path: str, lora: LoraConfig | None) -> str:
    """The folder of the model that is loaded: an adapter's base where adapters are trained.

    Raises:
        CheckpointError: the base is gone, or is another.
    """
    if lora is None or not files.is_adapter(path):
        return path
    return str(Checkpoint(path).base())


def put_on(model: Any, path: str, lora: LoraConfig, *, seed: int) -> None:
    """Freeze the model and put an adapter on it: a new one, or the one in `path` to go on with.

    Raises:
        BadAdapter: it does not fit the model or the config.
        CheckpointError: the adapter in `path` is of another kind than the config says.
    """
    if not files.is_adapter(path):
        attach(model, lora, base=str(Path(path).absolute()), seed=seed)
        return
    base = Checkpoint(path).base()
    attach(model, lora, base=str(base), seed=seed)
    load(model, Path(path))


def load(model: Any, folder: Path, *, like: Any = None) -> None:
    """Give the adapter on the model the values of the checkpoint in `folder`.

    Raises:
        CheckpointError: that holds a whole model, an adapter of another kind, or one of another
            base.
    """
    if not files.is_adapter(folder):
        raise CheckpointError(
            folder,
            "it holds a whole model, and [learner.lora] trains an adapter: leave that out, or "
            "begin a climb of its own from it",
        )
    config = next(iter(model.peft_config.values()))
    try:
        files.require_base(folder, Path(config.base_model_name_or_path))
        files.require_scale(folder, config)
        set_weights(model, files.read_weights(folder), like=like)
    except BadAdapter as error:
        raise CheckpointError(folder, error) from error


def how_to_hold(lora: LoraConfig, device: torch.device, *, ranks: int) -> dict[str, Any]:
    """Arguments for loading the base: its precision, or 4 bits.

    Raises:
        BadAdapter: it cannot be held so here; says why.
    """
    if lora.base_bits == 4:
        require_4_bits(device.type, ranks=ranks)
        from transformers import BitsAndBytesConfig

        return {
            "dtype": torch.bfloat16,
            "device_map": {"": device},
            "quantization_config": BitsAndBytesConfig(
                load_in_4bit=True,
                bnb_4bit_quant_type="nf4",
                bnb_4bit_compute_dtype=torch.bfloat16,
            ),
        }
    if lora.base_dtype == "own" and ranks > 1:
        raise BadAdapter(
            f'learner.lora.base_dtype = "own" holds base and adapter in two precisions, which '
            f"FSDP cannot shard together: set learner.ranks = 1, not {ranks}, or base_dtype = "
            '"float32".'
        )
    return {"dtype": "auto" if lora.base_dtype == "own" else torch.float32}


def require_4_bits(device: str, *, ranks: int) -> None:
    """What a base in 4 bits needs.

    Raises:
        BadAdapter: it is not here.
    """
    key = "learner.lora.base_bits = 4"
    if ranks > 1:
        raise BadAdapter(f"{key} cannot be sharded: set learner.ranks = 1, not {ranks}.")
    if device != "cuda":
        raise BadAdapter(f"{key} needs a GPU: on the CPU set base_bits = 0.")
    if importlib.util.find_spec("bitsandbytes") is None:
        raise BadAdapter(f"{key} needs bitsandbytes: pip install bitsandbytes")
