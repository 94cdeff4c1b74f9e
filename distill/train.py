"""Supervised fine-tuning on traces, on the trainer core (report, sections 3.1.4 and 3.1.5)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch

from base_model.checkpoint import Checkpoint
from base_model.config import PretrainConfig, ScheduleConfig
from base_model.pretrain import OnMetrics, pretrain
from distill.config import SftConfig
from distill.lessons import TraceLessons


def num_steps(lessons: TraceLessons, config: SftConfig) -> int:
    """Optimizer steps that show every lesson `config.epochs` times, packed."""
    rows, filled = 0.0, config.row_tokens
    for length in lessons.lengths.tolist():
        if filled + length > config.row_tokens:
            rows, filled = rows + 1, 0
        filled += length
    return max(1, math.ceil(rows * config.epochs / config.batch_rows))


def train(
    base: Checkpoint,
    lessons: TraceLessons,
    config: SftConfig,
    *,
    folder: Path,
    provenance: dict[str, Any],
    on_metrics: OnMetrics | None = None,
) -> Checkpoint:
    """Fine-tune `base`; the same call resumes in `folder` after a kill."""
    steps = num_steps(lessons, config)
    return pretrain(
        lambda: base.model(dtype=torch.float32),
        base.tokenizer(),
        lessons,
        PretrainConfig(
            num_steps=steps,
            batch_rows=config.batch_rows,
            row_tokens=config.row_tokens,
            optimizer=config.optimizer,
            schedule=ScheduleConfig(
                shape=config.shape, warmup_steps=round(config.warmup * steps), final=config.final
            ),
            checkpoint_every=config.checkpoint_every,
            log_every=config.log_every,
            threads=config.threads,
            seed=config.seed,
        ),
        folder=folder,
        provenance=provenance,
        on_metrics=on_metrics,
        device="cuda" if torch.cuda.is_available() else "cpu",
    )
