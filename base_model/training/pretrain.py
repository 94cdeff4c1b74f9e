"""The trainer: next-token prediction from packed documents, killed and resumed bitwise.

    documents ──► packed rows ──► loss ──► clipped gradient ──► AdamW ──► metrics, checkpoint
        ^                                                                      |
        └────────────── cursor, moments and the number of the step ◄───────────┘

One phase; several, one after the other, are `munro.base_model.training.phases`.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from munro.base_model.checkpoint import Checkpoint
from munro.base_model.config import PretrainConfig
from munro.base_model.training.async_checkpoint import Writer, writer_of
from munro.base_model.training.loss import language_loss
from munro.base_model.training.repeatable import repeatable
from munro.base_model.training.run_log import METRICS, Measuring, OnMetrics, RunLog, StepMetrics
from munro.base_model.training.sharding import Alone, World
from munro.base_model.training.trainer import Documents, Trainer
from munro.base_model.whole import drafts_of

__all__ = [
    "FINISHED",
    "METRICS",
    "Documents",
    "Measuring",
    "OnMetrics",
    "StepMetrics",
    "language_loss",
    "pretrain",
]

log = logging.getLogger(__name__)

UNFINISHED = "unfinished"
FINISHED = "model"


def pretrain(
    make_model: Callable[[], Any],
    tokenizer: Any,
    documents: Documents,
    config: PretrainConfig,
    *,
    folder: Path,
    provenance: dict[str, Any] | None = None,
    on_metrics: OnMetrics | None = None,
    device: str = "cpu",
    world: World | None = None,
    start: Checkpoint | None = None,
    measuring: Measuring | None = None,
    keep_state: bool = False,
) -> Checkpoint:
    """Train to the last step and return the finished checkpoint, `folder/model`.

    The same call after a kill goes on from `folder/unfinished`, and ends with the same weights bit
    for bit as a run that was never interrupted (same machine, same numbers of threads and ranks).

    Args:
        make_model: builds the untrained `PreTrainedModel`; called with the seed set.
        tokenizer: goes into the checkpoints.
        documents: what is read.
        config: how.
        folder: holds checkpoints and `metrics.jsonl`.
        provenance: recorded in the checkpoint beside the training's own figures.
        on_metrics: told every `log_every` steps, at evaluations and at the last step.
        device: where the model is trained, as torch names it; with a `world` its ranks' devices.
        world: the ranks that train together, each calling this, over the meshes of the config; one,
            here, unless given.
        start: weights to begin with, and moments if it has them, instead of the untrained model's.
        measuring: held-out sets, utilisation, the ledger of wall-clock.
        keep_state: leave the optimizer's moments in the finished checkpoint, for a next phase.

    Raises:
        CheckpointError: the disk refused, or a checkpoint holds another model.
        TrainingError: the training cannot begin or go on; see `Trainer`.
        RecordsError: metrics could not be written.
    """
    finished, unfinished = Checkpoint(folder / FINISHED), Checkpoint(folder / UNFINISHED)
    if finished.exists:
        shutil.rmtree(unfinished.path, ignore_errors=True)
        return finished
    ranks = (world or Alone(device)).over(config.parallel)
    measured = measuring or Measuring()
    folder.mkdir(parents=True, exist_ok=True)
    with repeatable(ranks.device, threads=config.threads):
        resume = unfinished if unfinished.can_resume else None
        if ranks.rank == 0 and drafts_of(unfinished.path):
            log.warning("the last checkpoint was not finished: going on from the one before it")
        trainer = Trainer(make_model, documents, config, ranks, resume=resume, start=start)
        told = RunLog(folder, trainer, config, measured, on_metrics, ranks)
        with writer_of(trainer, tokenizer, ranks) as writer:
            _train(trainer, documents, config, told, writer, unfinished.path)
            given = {**(provenance or {}), "training": config.model_dump(mode="json")}
            given["num_tokens"] = trainer.num_tokens
            writer.finish(finished.path, given, keep_state=keep_state)
        told.saved()
    if ranks.rank == 0:
        shutil.rmtree(unfinished.path, ignore_errors=True)
    return finished


def _train(
    trainer: Trainer,
    documents: Documents,
    config: PretrainConfig,
    log: RunLog,
    writer: Writer,
    unfinished: Path,
) -> None:
    """Take steps to the last one: told, evaluated and saved when due; nothing is being written."""
    log.began()
    is_due = False
    while trainer.step < config.num_steps:
        progress = trainer.progress
        taken = trainer.take_step()
        writer.check()
        log.stepped(documents, taken, progress)
        last = trainer.step == config.num_steps
        figures = log.evaluated() if last or _due(trainer.step, config.evaluate_every) else {}
        if last or figures or _due(trainer.step, config.log_every):
            log.write(taken, figures)
        is_due = is_due or _due(trainer.step, config.checkpoint_every)
        if is_due and not last and writer.is_free():
            writer.save(unfinished)
            log.saved()
            is_due = False
    writer.wait()


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0
