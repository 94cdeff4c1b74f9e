"""Everything that changes from step to step, one step of it, and how it is saved and restored.

    documents ──► packed rows ──► this rank's micro-batches ──► loss, balance ──► gradient
                                                                                     │
        metrics ◄── AdamW ◄── clipped by the norm over all ranks ◄───────────────────┘

Every rank packs the whole global batch and learns from its share, so the number of ranks does not
change what is read. A step draws its random numbers from the seed, the step and the rank: a run
that resumes needs no random state beyond the number of the step.

Shape letters: M = mixture layers, E = experts.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from munro.base_model.adapters import attach, files
from munro.base_model.adapters.errors import BadAdapter
from munro.base_model.checkpoint import Checkpoint, CheckpointError
from munro.base_model.config import PretrainConfig
from munro.base_model.data.shards.packing import Cursor, Lesson, PackedRows, pack
from munro.base_model.device.compiling import compile_layers
from munro.base_model.device.feed import ahead
from munro.base_model.device.figures import Figures
from munro.base_model.device.working import gradients_aside, working_copy
from munro.base_model.model.balance import (
    GlobalLoad,
    balance_loss,
    update_router_bias,
    violation_rate,
)
from munro.base_model.sharded import state as pieces
from munro.base_model.training.loss import summed_loss
from munro.base_model.training.optim import adamw, set_learning_rate
from munro.base_model.training.rows import rows_on_device
from munro.base_model.training.schedule import schedule
from munro.base_model.training.sharding import (
    World,
    gathered,
    optimizer_state,
    reduce_next,
    restore_optimizer,
    working_dtype,
)
from munro.base_model.training.spikes import SpikeWatch
from munro.kernels.attention import give as give_attention

log = logging.getLogger(__name__)


class TrainingError(Exception):
    """A training cannot begin or go on; says why, in one sentence."""

    is_sentence = True


class Documents(Protocol):
    """An endless corpus, as a pure function, so that a resumed run reads what it would have."""

    def tokens(self, index: int, progress: float) -> Sequence[int] | Lesson:
        """Token ids of document `index`, read when `progress` (0 to 1) of the run is done.

        A `Lesson` where only some of them are to be learned.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What one step came to, over all ranks.

    Example:
        Taken(loss=2.1, grad_norm=0.4, learning_rate=3e-4, documents=range(96), counts=None)
    """

    loss: float
    """Nats per predicted token."""
    grad_norm: float
    """Before clipping."""
    learning_rate: float
    documents: range
    """Indices of what was read."""
    counts: Tensor | None
    """[M, E] assignments to experts; None for a model without mixtures."""

    def expert_figures(self) -> dict[str, float]:
        """Extremes of the violation rate, (load - mean load) / mean load, over all layers."""
        if self.counts is None:
            return {}
        violation_ME = violation_rate(self.counts)
        return {
            "experts/violation/max": float(violation_ME.max()),
            "experts/violation/min": float(violation_ME.min()),
            "experts/violation/worst_layer": float(violation_ME.amax(-1).argmax()),
        }


class Trainer:
    """One rank of a training run; with one rank, all of it.

    Args:
        make_model: builds the untrained `PreTrainedModel`; called with the seed set.
        documents: what is read.
        config: how.
        world: the ranks.
        resume: the checkpoint that an interrupted run left, where there is one.
        start: where there is none, weights (and moments, if it has them) to begin with.

    Raises:
        CheckpointError: a checkpoint holds another model.
        TrainingError: the rows do not divide among ranks and micro-batches, or biases are to be
            moved that the model does not have.
    """

    def __init__(
        self,
        make_model: Callable[[], Any],
        documents: Documents,
        config: PretrainConfig,
        world: World,
        *,
        resume: Checkpoint | None = None,
        start: Checkpoint | None = None,
    ) -> None:
        self._rows = rows_of_a_rank(config, world)
        torch.manual_seed(config.seed)
        self._documents, self._config, self._world = documents, config, world
        self._schedule = schedule(config.schedule, config.num_steps)
        self.step = self.num_tokens = 0
        self.cursor = Cursor()
        self.watch = SpikeWatch(config=config.spikes)
        origin = resume or start
        model = make_model()
        if origin is not None and not origin.is_sharded:
            load_weights(model, origin)
        model.to(world.device).train()
        give_attention(model)
        if config.bias_rate:
            _require_biases(model, config)
        if config.activation_checkpointing:
            model.gradient_checkpointing_enable()
            if attach.is_adapted(model):
                # what a frozen embedding gives asks for no gradient, and the segments had none
                model.enable_input_require_grads()
        if said := compile_layers(model, config.compile, world.device):
            log.warning(said)
        self.model = world.shard(model, reshard=config.shard == "zero3")
        self._optimizer = adamw(self.model, config.optimizer)
        self._load = GlobalLoad()
        if origin is not None and origin.has_trainer_state:
            self._restore(origin, whole_run=resume is not None)

    @property
    def progress(self) -> float:
        """Share of the steps that are done."""
        return self.step / self._config.num_steps

    def take_step(self) -> Taken:
        """Read a batch and learn from it.

        Raises:
            TrainingError: nothing to learn, or loss or gradient norm is not finite; the weights
                are as before.
        """
        config, world = self._config, self._world
        torch.manual_seed(hash((config.seed, self.step, world.rank)))
        read_from = self.cursor
        rows, self.cursor = self._read()
        learning_rate = config.optimizer.learning_rate * self._schedule(self.step)
        set_learning_rate(self._optimizer, learning_rate)
        nll = self._gradients(rows)
        norm = world.clip(self.model.parameters(), config.optimizer.max_grad_norm)
        taken = Taken(
            loss=world.summed({"nll": nll})["nll"] / rows.num_targets,
            grad_norm=norm,
            learning_rate=learning_rate,
            documents=range(read_from.document, self.cursor.document + bool(self.cursor.offset)),
            counts=self._load.total(),
        )
        self._require_finite(taken)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        if config.bias_rate and taken.counts is not None:
            update_router_bias(self.model, taken.counts, rate=config.bias_rate)
        self._load.reset()
        self.step += 1
        self.num_tokens += rows.num_tokens
        return taken

    def weights(self) -> dict[str, Tensor]:
        """Copies of all weights, on the first rank's host alone; every rank must ask.

        Of a model with an adapter the adapter's: the rest does not change.
        """
        if attach.is_adapted(self.model):
            return gathered(attach.weights_of(self.model), copy=True)
        return gathered(self.model.state_dict(keep_vars=True), copy=True)

    def position(self) -> dict[str, Any]:
        """How far the run has come, as plain data."""
        return {
            "step": self.step,
            "num_tokens": self.num_tokens,
            "cursor": (self.cursor.document, self.cursor.offset),
            "losses": list(self.watch.losses),
            "grad_norms": list(self.watch.grad_norms),
        }

    def state(self) -> dict[str, Any]:
        """What beside the weights a run must remember, copied; every rank must ask.

        The moments are on the first rank alone.
        """
        moments = optimizer_state(self.model, self._optimizer, copy=True)
        return {**self.position(), "optimizer": moments}

    def tensors(self, *, moments: bool = True) -> dict[str, Tensor]:
        """Weights and moments where they are, sharded as they are, by name."""
        return pieces.tensors_of(self.model, self._optimizer if moments else None)

    def _read(self) -> tuple[PackedRows, Cursor]:
        """The global batch."""
        config, progress = self._config, self.progress
        rows, cursor = pack(
            lambda index: self._documents.tokens(index, progress),
            self.cursor,
            rows=config.batch_rows,
            row_tokens=config.row_tokens,
            apart=config.keep_documents_apart,
        )
        if not rows.num_targets:
            raise TrainingError(
                f"optimizer step {self.step + 1}: none of its {rows.num_tokens} tokens is to be "
                "learned; give documents of two tokens or more."
            )
        return rows, cursor

    def _gradients(self, rows: PackedRows) -> float:
        """Add up the gradients of this rank's micro-batches; returns their summed NLL.

        The device is asked for a number once, when all of them are under way.
        """
        config, rank = self._config, self._world.data_rank
        share = rows[rank * self._rows : (rank + 1) * self._rows]
        device, figures = self._world.device, Figures()
        halved = config.precision == "bfloat16"
        parts = list(share.split(config.micro_rows or self._rows))
        makers = [partial(rows_on_device, part, device, self._world.context) for part in parts]
        with working_copy(self.model, working_dtype(self._world) if halved else None):
            for micro in ahead(makers, device):
                reduce_next(self.model, not config.reduce_once or len(figures) + 1 == len(parts))
                with (
                    gradients_aside(self.model),
                    torch.autocast(device.type, torch.bfloat16, enabled=halved),
                ):
                    made = summed_loss(
                        self.model,
                        micro,
                        apart=config.keep_documents_apart,
                        adds=working_dtype(self._world) is not None,
                    )
                loss = made.nll / rows.num_targets
                if made.routing is not None:
                    loss = loss + self._balance(made.routing, micro.num_tokens / rows.num_tokens)
                # FSDP averages gradients over the ranks, but each loss is a share of the global
                # mean
                (loss * self._world.size).backward()  # type: ignore[no-untyped-call]
                figures.add({"nll": made.nll})
        return sum(told["nll"] for told in figures.read())

    def _balance(self, routing: Any, share: float) -> Tensor | float:
        """Count a micro-batch's load; its weighed share of the step's balance loss."""
        if not self._config.balance:
            self._load.count(routing.counts)
            return 0.0
        counts_ME = self._load.add(routing.counts)
        return self._config.balance * balance_loss(counts_ME, routing.probability) * share

    def _require_finite(self, taken: Taken) -> None:
        for name, figure in (("loss", taken.loss), ("gradient norm", taken.grad_norm)):
            if not math.isfinite(figure):
                raise TrainingError(
                    f"optimizer step {self.step + 1}: the {name} is {figure}. No step was taken; "
                    "the same command goes on from the last checkpoint, with a lower "
                    "learning_rate if it happens again."
                )

    def _restore(self, origin: Checkpoint, *, whole_run: bool) -> None:
        """The moments; of an interrupted run also how far it had come.

        Of a sharded checkpoint the weights too: each rank reads what falls into its shards.
        """
        if origin.is_sharded:
            pieces.restore(origin.require(weights=False).path, self.model, self._optimizer)
            state = origin.commit()["progress"]
        else:
            state = origin.trainer_state()
            try:
                restore_optimizer(self.model, self._optimizer, state["optimizer"])
            except ValueError as error:
                raise CheckpointError(origin.path, error) from error
        if not whole_run:
            return
        self.step, self.num_tokens = state["step"], state["num_tokens"]
        self.cursor = Cursor(*state["cursor"])
        self.watch = SpikeWatch(
            config=self._config.spikes,
            losses=tuple(state["losses"]),
            grad_norms=tuple(state["grad_norms"]),
        )


def rows_of_a_rank(config: PretrainConfig, world: World) -> int:
    """Rows of the global batch that each rank learns from.

    Raises:
        TrainingError: they do not divide among ranks and micro-batches.
    """
    rows, rest = divmod(config.batch_rows, world.data_size)
    if rest:
        raise TrainingError(
            f"batch_rows = {config.batch_rows} does not divide among {world.data_size} ranks: make "
            "it a multiple."
        )
    if config.micro_rows and rows % config.micro_rows:
        raise TrainingError(
            f"micro_rows = {config.micro_rows} does not divide the {rows} rows of a rank: take a "
            "divisor, or 0 for all at once."
        )
    return rows


def _require_biases(model: nn.Module, config: PretrainConfig) -> None:
    if not any(name.endswith("router.bias") for name, _ in model.named_buffers()):
        raise TrainingError(
            f"bias_rate = {config.bias_rate:g} moves selection biases, and the model has none: set "
            "router_bias = true in its options, or bias_rate = 0."
        )


@torch.no_grad()
def load_weights(model: nn.Module, checkpoint: Checkpoint) -> None:
    """Give a model the weights of a checkpoint.

    Raises:
        CheckpointError: it is incomplete, or holds another model.
    """
    if attach.is_adapted(model):
        try:
            attach.set_weights(model, files.read_weights(checkpoint.require().path))
        except BadAdapter as error:
            raise CheckpointError(checkpoint.path, error) from error
        return
    saved = checkpoint.model(dtype="auto").state_dict()
    ours = model.state_dict()
    for name in sorted(ours.keys() | saved.keys()):
        shapes = [tuple(some[name].shape) if name in some else None for some in (saved, ours)]
        if shapes[0] != shapes[1]:
            has, wants = ("no such weight" if shape is None else shape for shape in shapes)
            raise CheckpointError(
                checkpoint.path,
                f"holds a model of another shape: {name} is {has} there and {wants} in this run",
            )
    for name, tensor in ours.items():
        tensor.copy_(saved[name])
