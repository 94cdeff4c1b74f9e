"""Supervised fine-tuning on traces, on the trainer core (report, sections 3.1.4 and 3.1.5)."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch

from munro.base_model.adapters.attach import attach
from munro.base_model.checkpoint import Checkpoint
from munro.base_model.config import BaseConfig, PretrainConfig, ScheduleConfig
from munro.base_model.data.shards.opening import open_mixture
from munro.base_model.model.dropout import NoSubLayers, set_sublayer_dropout
from munro.base_model.small.corpus import Corpus
from munro.base_model.training.pretrain import Documents, OnMetrics, pretrain
from munro.distill.config import ReplayConfig, SftConfig
from munro.distill.lessons import TraceLessons, WithReplay
from munro.distill.sources import CannotDistill
from munro.envs.arithmetic import is_held_out

LEAST_STEPS = 4
NO_LIMIT = 1 << 62
PROBED = 256
"""Documents whose mean length stands for that of a corpus."""
EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")


def made_for(base: Checkpoint) -> tuple[int, int]:
    """(tokens of context, tokens of vocabulary) that the base has weights for."""
    whole = json.loads((base.base() / "config.json").read_text(encoding="utf-8"))
    text = whole.get("text_config", whole)
    return int(text.get("max_position_embeddings", NO_LIMIT)), int(text["vocab_size"])


def row_tokens(base: Checkpoint, config: SftConfig) -> int:
    """Tokens of a row: what is asked, and no more than the base is made for."""
    return min(config.row_tokens, made_for(base)[0])


def train(
    base: Checkpoint,
    lessons: TraceLessons,
    config: SftConfig,
    replay: ReplayConfig,
    *,
    folder: Path,
    provenance: dict[str, Any],
    on_metrics: OnMetrics | None = None,
) -> Checkpoint:
    """Fine-tune `base`; the same call resumes in `folder` after a kill, bit for bit on the CPU.

    Args:
        base: where the weights begin.
        lessons: what is learned.
        config: how.
        replay: what is mixed in.
        folder: holds checkpoints, metrics and the result.
        provenance: recorded in the result beside the training's own figures.
        on_metrics: told how it goes.

    Raises:
        CannotDistill: the lessons are too few for a batch, or the model has no place for dropout
            or the balance loss.
        CheckpointError: the base is incomplete, or the disk refused.
    """
    tokenizer = base.tokenizer()
    columns = row_tokens(base, config)
    documents: Documents = lessons
    rows = _rows(lessons, columns, config.epochs)
    if replay.share:
        other, mean = _other(base, tokenizer, replay)
        documents = WithReplay(lessons, other, share=replay.share, other_length=mean)
        rows /= 1 - replay.share
    steps = _num_steps(rows, len(lessons), config)
    return pretrain(
        lambda: _model(base, config),
        tokenizer,
        documents,
        PretrainConfig(
            num_steps=steps,
            row_tokens=columns,
            schedule=ScheduleConfig(
                shape=config.shape, warmup_steps=round(config.warmup * steps), final=config.final
            ),
            **{name: getattr(config, name) for name in SHARED},
        ),
        folder=folder,
        provenance=provenance,
        on_metrics=on_metrics,
        device="cuda" if torch.cuda.is_available() else "cpu",
    )


SHARED = (
    "batch_rows", "micro_rows", "optimizer", "balance", "precision", "activation_checkpointing",
    "checkpoint_every", "log_every", "threads", "seed",
)  # fmt: skip
"""Keys that mean the same to the trainer core."""


def _rows(lessons: TraceLessons, columns: int, epochs: float) -> float:
    """Rows that the packed lessons fill, in the order in which they are read."""
    rows, filled = 0, columns
    for index in range(math.ceil(epochs * len(lessons))):
        length = lessons.length(index)
        if filled + length > columns:
            rows, filled = rows + 1, 0
        filled += length
    return float(rows)


def _num_steps(rows: float, num_lessons: int, config: SftConfig) -> int:
    steps = math.ceil(rows / config.batch_rows)
    if steps < LEAST_STEPS:
        fits = max(1, int(rows / (2 * LEAST_STEPS)))
        raise CannotDistill(
            f"{num_lessons} traces fill {rows:.0f} rows, which is {steps} optimizer "
            f"{'step' if steps == 1 else 'steps'} of training.batch_rows = {config.batch_rows}: "
            f"set it to {fits} or less, or take more traces or epochs."
        )
    return steps


def _model(base: Checkpoint, config: SftConfig) -> Any:
    """The base in float32, with dropout where the report has it."""
    model = base.model(dtype=torch.float32)
    text = model.config.get_text_config()
    experts = max((getattr(text, name, 0) or 0 for name in EXPERTS), default=0)
    if experts and config.balance and model.config.model_type != "munro":
        raise CannotDistill(
            f"{type(model).__name__} has {experts} experts, and does not tell their load as the "
            "balance loss needs it: set training.balance = 0 to train without."
        )
    try:
        set_sublayer_dropout(model, config.dropout)
    except NoSubLayers as error:
        raise CannotDistill(
            f"training.dropout = {config.dropout} has no place in this base ({error}): set it "
            "to 0 to train without."
        ) from error
    if config.lora is not None:
        if base.is_adapter:
            raise CannotDistill(
                f"{base.path} is an adapter itself, and training.lora would put another on what it "
                f"makes: merge it first (munro merge {base.path} OUT), or name its base."
            )
        attach(model, config.lora, base=str(base.path.absolute()), seed=config.seed)
    return model


def _other(base: Checkpoint, tokenizer: Any, replay: ReplayConfig) -> tuple[Documents, float]:
    """The corpus to mix in, and its mean length."""
    other: Documents
    if replay.mixture.sources:
        other = open_mixture(replay.mixture, tokenizer)
    else:
        made = base.provenance().get("base", {})
        if "corpus" not in made:
            raise CannotDistill(
                f"replay.share = {replay.share}, but {base.path} does not say what it was trained "
                "on: name sources in replay.mixture.sources."
            )
        own = BaseConfig.model_validate(made)
        other = Corpus(own.corpus, tokenizer, seed=own.training.seed, is_held_out=is_held_out)
    lengths = [_length(other.tokens(index, 1.0)) for index in range(PROBED)]
    return other, sum(lengths) / len(lengths)


def _length(document: Any) -> int:
    return len(getattr(document, "token_ids", document))
