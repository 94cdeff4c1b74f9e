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
from munro.base_model.sharded import state as pieces
from munro.base_model.sharded.saver import Order, Saver
from munro.base_model.sharded.stage import Stage
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


class Saving:
    """Writes a learner's checkpoints: of several ranks each writes its pieces, behind the training.

    One rank alone, or the first of an adapter's, writes all of it before `save` returns.
    """

    def __init__(self, model: Any, world: World, *, tokenizer_from: str) -> None:
        self._model, self._world, self._tokenizer_from = model, world, tokenizer_from
        is_sharded = world.size > 1 and not attach.is_adapted(model)
        self._saver = Saver() if is_sharded else None

    def save(
        self,
        folder: str | Path,
        optimizer: torch.optim.Optimizer,
        *,
        num_steps: int,
        provenance: Mapping[str, Any],
        export: bool,
    ) -> None:
        """Begin to write, once the last one is done; see `Learner.save`."""
        if self._saver is None:
            self._gather(folder, optimizer, num_steps, provenance)
            return
        order = Order(
            path=Path(folder).absolute(),
            model=self._model,
            tokenizer=lambda: AutoTokenizer.from_pretrained(self._tokenizer_from),
            progress={"num_steps": num_steps},
            provenance=provenance,
            export="after" if export else "never",
        )
        self._saver.begin(order, pieces.tensors_of(self._model, optimizer))

    def saving(self) -> Stage:
        """See `Learner.saving`."""
        return self._saver.saving() if self._saver else ""

    def wait(self) -> None:
        """Until nothing is being written."""
        if self._saver:
            self._saver.wait()

    def _gather(
        self,
        folder: str | Path,
        optimizer: torch.optim.Optimizer,
        num_steps: int,
        provenance: Mapping[str, Any],
    ) -> None:
        model = self._model
        adapted = attach.is_adapted(model)
        state = gathered(attach.weights_of(model) if adapted else model.state_dict(keep_vars=True))
        trainer_state = {"num_steps": num_steps, "optimizer": optimizer_state(model, optimizer)}
        if self._world.rank == 0:
            Checkpoint.write(
                folder,
                model=model,
                tokenizer=AutoTokenizer.from_pretrained(self._tokenizer_from),
                trainer_state=trainer_state,
                provenance=provenance,
                state_dict=state,
            )


def load(folder: str | Path, model: Any, optimizer: torch.optim.Optimizer) -> int:
    """See `Learner.load`; returns the number of optimizer steps taken."""
    checkpoint = Checkpoint(folder)
    if checkpoint.is_sharded:
        return _load_pieces(checkpoint.require(weights=False), model, optimizer)
    checkpoint.require()
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


def _load_pieces(checkpoint: Checkpoint, model: Any, optimizer: torch.optim.Optimizer) -> int:
    if attach.is_adapted(model):
        raise CheckpointError(
            checkpoint.path, "it holds a whole model: go on from it without [learner.lora]"
        )
    require_same(model, optimizer, pieces.moments_in(pieces.pieces_in(checkpoint.path)))
    pieces.restore(checkpoint.path, model, optimizer)
    if isinstance(optimizer, Offloaded):
        optimizer.put_away()
    return int(checkpoint.commit()["progress"]["num_steps"])


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
