"""How a learner's weights leave it and come back: published to servers, saved, loaded.

Every rank calls each of these: a sharded weight is gathered from all ranks, by the first alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoTokenizer
from transformers.core_model_loading import revert_weight_conversion

from munro.base_model.adapters import attach, files
from munro.base_model.checkpoint import Checkpoint, CheckpointError
from munro.base_model.training.sharding import (
    World,
    at_first,
    gathered,
    like,
    optimizer_state,
    restore_optimizer,
)
from munro.rl.policy import adapter
from munro.rl.policy.optimizers import Offloaded, require_same


def published(model: Any, world: World) -> Iterator[tuple[str, Tensor]]:
    """Names as in the published checkpoint, tied weights once, in the servers' precision.

    Of a model with an adapter the adapter alone, in float32, by the names of peft's files. Other
    ranks than the first must exhaust it too, and get nothing.
    """
    if attach.is_adapted(model):
        for name, parameter in attach.weights_of(model).items():
            full = at_first(parameter.detach())
            if full is not None:
                yield name, full
        return
    dtype = torch.bfloat16 if world.device.type == "cuda" else torch.float32
    saved = model.state_dict().keys()
    buffers = ((name, buffer) for name, buffer in model.named_buffers() if name in saved)
    sent = (
        (name, at_first(tensor.detach().to(dtype)))
        for name, tensor in (*model.named_parameters(), *buffers)
    )
    named = ((name, full) for name, full in sent if full is not None)
    if world.rank == 0 and getattr(model, "_weight_conversions", None):
        # transformers renames or fuses weights of some models while it loads them
        yield from revert_weight_conversion(model, dict(named)).items()
    else:
        yield from named


def save(
    folder: str | Path,
    model: Any,
    optimizer: torch.optim.Optimizer,
    world: World,
    *,
    tokenizer_from: str,
    num_steps: int,
    provenance: Mapping[str, Any],
) -> None:
    """See `Learner.save`."""
    adapted = attach.is_adapted(model)
    state = gathered(attach.weights_of(model) if adapted else model.state_dict(keep_vars=True))
    trainer_state = {"num_steps": num_steps, "optimizer": optimizer_state(model, optimizer)}
    if world.rank == 0:
        Checkpoint.write(
            folder,
            model=model,
            tokenizer=AutoTokenizer.from_pretrained(tokenizer_from),
            trainer_state=trainer_state,
            provenance=provenance,
            state_dict=state,
        )


def load(folder: str | Path, model: Any, optimizer: torch.optim.Optimizer) -> int:
    """See `Learner.load`; returns the number of optimizer steps taken."""
    checkpoint = Checkpoint(folder).require()
    if attach.is_adapted(model):
        adapter.load(model, checkpoint.path, like=like)
    elif files.is_adapter(folder):
        raise CheckpointError(
            folder, "it holds an adapter: go on from it with the [learner.lora] it was made with"
        )
    else:
        _load_whole(checkpoint, model)
    state = checkpoint.trainer_state()
    require_same(model, optimizer, state["optimizer"])
    restore_optimizer(model, optimizer, state["optimizer"])
    if isinstance(optimizer, Offloaded):
        optimizer.put_away()
    return int(state["num_steps"])


def _load_whole(checkpoint: Checkpoint, model: Any) -> None:
    saved = checkpoint.model(dtype=torch.float32)
    named = dict(saved.named_parameters())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name not in named or named[name].shape != parameter.shape:
                raise ValueError(
                    f"{checkpoint.path} holds another model: {name!r} is not like ours"
                )
            parameter.copy_(like(named[name], parameter))
