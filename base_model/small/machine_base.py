"""The base of a small machine: a tokenizer and a model trained on text and beginnings of tasks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from munro.base_model.checkpoint import Checkpoint
from munro.base_model.config import BaseConfig, PretrainConfig
from munro.base_model.model.tokenizer import train_tokenizer
from munro.base_model.small.corpus import paragraphs
from munro.base_model.small.held_out import HeldOut
from munro.base_model.small.machine_corpus import Beginning, BeginningsConfig, BeginningsCorpus
from munro.base_model.small.quickstart import new_model
from munro.base_model.training.pretrain import OnMetrics, pretrain

TASKS_FOR_TOKENIZER = 2000
"""Of every kind."""


def build_machine_base(
    base: BaseConfig,
    beginnings: BeginningsConfig,
    kinds: Sequence[Sequence[Beginning]],
    *,
    folder: Path,
    is_held_out: HeldOut,
    on_progress: OnMetrics | None = None,
) -> Checkpoint:
    """Train the base into `folder/model`; the same call resumes after a kill.

    Args:
        base: tokenizer, model and training; what it says of a corpus is not read.
        beginnings: shares of the corpus.
        kinds: tasks of every kind, none of them held out.
        folder: where the training lives.
        is_held_out: says of a problem such as "347+285" in a text whether it is kept for testing.
        on_progress: told how the training goes.

    Raises:
        CheckpointError: the disk refused.
    """
    texts = paragraphs(is_held_out)
    tokenizer = train_tokenizer(
        _shown(texts, kinds), vocab_size=base.vocab_size, max_context=base.model.max_context
    )
    training: PretrainConfig = base.training
    corpus = BeginningsCorpus(beginnings, tokenizer, kinds=kinds, texts=texts, seed=training.seed)
    return pretrain(
        lambda: new_model(base.model, tokenizer),
        tokenizer,
        corpus,
        training,
        folder=folder,
        provenance={
            "base": base.model_dump(mode="json"),
            "beginnings": beginnings.model_dump(mode="json"),
        },
        on_metrics=on_progress,
    )


def _shown(texts: Sequence[str], kinds: Sequence[Sequence[Beginning]]) -> Iterator[str]:
    yield from texts
    for tasks in kinds:
        for task in tasks[:TASKS_FOR_TOKENIZER]:
            yield from task.read(carefully=True)
