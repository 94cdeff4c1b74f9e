"""Small trainings of a dense model and of a mixture of experts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from munro.base_model.checkpoint import Checkpoint
from munro.base_model.config import PretrainConfig
from munro.base_model.model.model import MunroForCausalLM
from munro.base_model.small.corpus import Corpus
from munro.base_model.small.quickstart import new_model
from munro.base_model.training.pretrain import StepMetrics, pretrain
from tests.base_model.builders import nothing_held_out, small_base, small_tokenizer
from tests.base_model.tiny_munro import tiny_config

KINDS = ("dense", "moe")


class Killed(Exception):
    pass


def corpus() -> Corpus:
    base = small_base()
    return Corpus(base.corpus, small_tokenizer(), seed=0, is_held_out=nothing_held_out)


def training(**changes: Any) -> PretrainConfig:
    return small_base(**changes).training


def maker(kind: str, **options: Any) -> Callable[[], Any]:
    """Builds an untrained model: a Llama, or ours with mixtures and dropout."""
    tokenizer = small_tokenizer()
    if kind == "dense":
        return lambda: new_model(small_base().model, tokenizer)
    config = tiny_config(sizes={"vocab_size": len(tokenizer)}, **{"dropout": 0.1, **options})
    return lambda: MunroForCausalLM(config)


def train(
    folder: Path,
    kind: str = "dense",
    *,
    kill_at: int | None = None,
    options: dict[str, Any] | None = None,
    more: dict[str, Any] | None = None,
    **changes: Any,
) -> tuple[Checkpoint, list[StepMetrics]]:
    """A training of twelve steps; `changes` are keys of its config, `more` goes to `pretrain`."""
    seen: list[StepMetrics] = []

    def watch(metrics: StepMetrics) -> None:
        seen.append(metrics)
        if metrics.step == kill_at:
            raise Killed

    done = pretrain(
        maker(kind, **(options or {})),
        small_tokenizer(),
        corpus(),
        training(**changes),
        folder=folder,
        provenance={"from": "a test"},
        on_metrics=watch,
        **(more or {}),
    )
    return done, seen


def weights(checkpoint: Checkpoint) -> bytes:
    return (checkpoint.path / "model.safetensors").read_bytes()
