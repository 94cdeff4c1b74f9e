"""From a checkpoint's folder to a policy that is ready to be trained here."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM

from munro.base_model.checkpoint import Checkpoint
from munro.base_model.model.dropout import NoSubLayers, set_sublayer_dropout
from munro.rl.config import LearnerConfig
from munro.rl.policy.model import Policy, UnsupportedModel
from munro.rl.policy.packing import Layout


def load_policy(path: str, config: LearnerConfig, *, device: torch.device) -> Policy:
    """The model of a folder, with the dropout and the checkpointing that the config asks for.

    Raises:
        CheckpointError: the folder lacks something.
        UnsupportedModel: the model's logits are made in a way the learner does not know.
    """
    model = load_model(path, device=device)
    set_dropout(model, config.dropout)
    if config.activation_checkpointing:
        model.gradient_checkpointing_enable()
    return Policy(model, tile=config.logits_chunk)


def load_model(path: str, *, device: torch.device) -> Any:
    """The model in float32, with the attention this machine has.

    flash-attn where it is installed and the model is on a GPU, PyTorch's own otherwise.

    Raises:
        CheckpointError: `path` is a folder that lacks something.
    """
    kwargs = {
        "dtype": torch.float32,
        "attn_implementation": "flash_attention_2" if uses_flash(device) else "sdpa",
    }
    if Path(path).exists() or Path(path).is_absolute():
        model = Checkpoint(path).model(**kwargs)
    else:
        model = AutoModelForCausalLM.from_pretrained(path, **kwargs)
    return model.to(device)


def uses_flash(device: torch.device) -> bool:
    """Whether flash-attn computes attention here; it has only run on GPUs, never in our tests."""
    return device.type == "cuda" and importlib.util.find_spec("flash_attn") is not None


def layout_for(policy: Policy, *, share_prompts: bool, device: torch.device) -> Layout:
    """How this model's rows are best made on this device."""
    if uses_flash(device):
        return Layout.PACKED
    return Layout.SHARED if share_prompts and policy.shares_prompts() else Layout.PADDED


def set_dropout(model: nn.Module, rate: float) -> None:
    """Dropout on every sub-layer's output and nowhere else; the saved config keeps its own.

    Raises:
        UnsupportedModel: a rate above 0 was asked of a model that has no place for it.
    """
    try:
        set_sublayer_dropout(model, rate)
    except NoSubLayers as error:
        raise UnsupportedModel(
            f"learner.dropout = {rate}, but {type(model).__name__} has no dropout. Set it to 0."
        ) from error
