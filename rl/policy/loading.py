"""From a checkpoint's folder to a policy that is ready to be trained here."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from munro.base_model.checkpoint import Checkpoint
from munro.base_model.model.dropout import NoSubLayers, set_sublayer_dropout
from munro.base_model.weights import load
from munro.kernels import attention
from munro.rl.config import LearnerConfig
from munro.rl.policy import adapter
from munro.rl.policy.model import Policy, UnsupportedModel
from munro.rl.policy.packing import Layout


def load_policy(path: str, config: LearnerConfig, *, device: torch.device, seed: int = 0) -> Policy:
    """The model of a folder, with the dropout and the checkpointing that the config asks for.

    With `[learner.lora]` it is frozen and has an adapter on it: a new one, or the folder's own.

    Args:
        path: folder of a whole model or of an adapter.
        config: of the learner.
        device: where it is trained.
        seed: of a new adapter's first values.

    Raises:
        CheckpointError: the folder lacks something.
        UnsupportedModel: the model's logits are made in a way the learner does not know.
        BadAdapter: no adapter can be put on it.
    """
    lora, how = config.lora, {}
    if lora is not None:
        how = adapter.how_to_hold(lora, device, ranks=config.ranks)
    model = load_model(adapter.base_folder(path, lora), device=device, **how)
    set_dropout(model, config.dropout)
    if lora is not None:
        adapter.put_on(model, path, lora, seed=seed)
    if config.activation_checkpointing:
        model.gradient_checkpointing_enable()
        if lora is not None:
            # what a frozen embedding gives asks for no gradient, and the segments would have none
            model.enable_input_require_grads()
    return Policy(model, tile=config.logits_chunk)


def load_model(path: str, *, device: torch.device, **how: Any) -> Any:
    """The model in float32, with the best attention that it knows.

    Ours, which computes over trees and packed rows, where the model leaves its attention to
    transformers' registry; PyTorch's own otherwise; plain products where it knows nothing else.

    Args:
        path: of a checkpoint.
        device: where it goes.
        how: otherwise than in float32; transformers' own arguments.

    Raises:
        CheckpointError: `path` is a folder that lacks something.
        BadWeights: it is a name, and what stands there is not whole.
    """
    if Path(path).exists() or Path(path).is_absolute():
        make = Checkpoint(path).model
    else:  # a name that transformers knows
        make = partial(load, path)
    how = {"dtype": torch.float32} | how
    model = make(attention=attention_of, **how)
    return model if "quantization_config" in how else model.to(device)


def attention_of(kind: type) -> str:
    """How models of that class compute attention here, by transformers' name for it."""
    if attention.takes(kind):
        return attention.register()
    return "sdpa" if getattr(kind, "_supports_sdpa", False) else "eager"


def layout_for(policy: Policy, *, share_prompts: bool) -> Layout:
    """How this model's rows are best made, by the attention it was loaded with, where it is."""
    device = policy.get_input_embeddings().weight.device
    shared = share_prompts and policy.shares_prompts()
    if policy.takes_rows and device.type == "cuda":
        return Layout.FOREST if shared else Layout.PACKED
    return Layout.SHARED if shared else Layout.PADDED


def set_dropout(model: nn.Module, rate: float) -> None:
    """Dropout on every sub-layer's output and nowhere else; the saved config keeps its own.

    Raises:
        UnsupportedModel: a rate above 0 was asked of a model that has no place for it, or the
            model is random in training in another way, which would make every ratio wrong.
    """
    set_sublayer_dropout(model, 0.0)
    _prove_quiet(model)
    try:
        set_sublayer_dropout(model, rate)
    except NoSubLayers as error:
        raise UnsupportedModel(
            f"learner.dropout = {rate}, but {type(model).__name__} has no dropout. Set it to 0."
        ) from error


@torch.no_grad()
def _prove_quiet(model: Any) -> None:
    """Compare what the model says of a few tokens in training with what it says in evaluation."""
    embeddings = getattr(model, "get_input_embeddings", lambda: None)()
    if embeddings is None:
        return
    weight = embeddings.weight
    ids = torch.arange(8, device=weight.device)[None] % weight.shape[0]
    still = model.eval()(input_ids=ids, use_cache=False).logits
    training = model.train()(input_ids=ids, use_cache=False).logits
    model.eval()
    # far below any noise, far above what a GPU's sums differ by from one time to the next
    if not torch.allclose(still, training, rtol=1e-3, atol=1e-3):
        raise UnsupportedModel(
            f"{type(model).__name__} is random in training although all dropout is off, so that "
            "the learner would not compute the probabilities that its rollouts were sampled with."
        )
