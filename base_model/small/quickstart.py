"""The quickstart's base model: built once, kept in the user's cache folder, rebuilt when its
configuration changes."""

from __future__ import annotations

import fcntl
import json
import math
import platform
import random
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import tokenizers
import torch
import transformers
from transformers import LlamaConfig, LlamaForCausalLM

from munro.base_model.checkpoint import Checkpoint
from munro.base_model.config import BaseConfig, ModelConfig
from munro.base_model.model.model import MunroConfig, MunroForCausalLM
from munro.base_model.model.tokenizer import train_tokenizer
from munro.base_model.small import colours, digits
from munro.base_model.small.cache import default_cache_dir
from munro.base_model.small.corpus import (
    TEXTS,
    Corpus,
    paragraphs,
    problem,
    prompt,
    text_of,
    worked,
)
from munro.base_model.small.held_out import HeldOut
from munro.base_model.training.pretrain import FINISHED, OnMetrics, pretrain

RECIPE_VERSION = 1
"""Raised whenever the code would build other weights from the same configuration."""

TASKS_FOR_TOKENIZER = 4000
PROBLEMS_IN_KEY = 256
RESIDUAL_OUTPUTS = ("o_proj.weight", "down_proj.weight")


def build_base(
    config: BaseConfig,
    *,
    is_held_out: HeldOut,
    cache_dir: Path | None = None,
    on_progress: OnMetrics | None = None,
) -> Checkpoint:
    """The base model of this configuration, from the cache or trained now.

    An interrupted build goes on where it stopped. Two processes that want the same base wait for
    each other. The same configuration gives bitwise the same weights on one machine.

    Args:
        config: everything that decides the weights.
        is_held_out: says of a problem such as "347+285" whether it is kept for testing; those
            never appear in the training text.
        cache_dir: where bases are kept; `default_cache_dir()` unless given.
        on_progress: told how the training goes; never called when the base was cached.

    Raises:
        CheckpointError: the disk refused.
    """
    folder = base_folder(config, is_held_out=is_held_out, cache_dir=cache_dir)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder.with_suffix(".lock")):
        finished = Checkpoint(folder / FINISHED)
        if finished.exists:
            return finished
        tokenizer = train_tokenizer(
            _tokenizer_texts(config, is_held_out),
            vocab_size=config.vocab_size,
            max_context=config.model.max_context,
        )
        corpus = Corpus(
            config.corpus, tokenizer, seed=config.training.seed, is_held_out=is_held_out
        )
        return pretrain(
            lambda: new_model(config.model, tokenizer),
            tokenizer,
            corpus,
            config.training,
            folder=folder,
            provenance={"base": config.model_dump(mode="json"), "versions": _versions()},
            on_metrics=on_progress,
        )


def base_folder(config: BaseConfig, *, is_held_out: HeldOut, cache_dir: Path | None = None) -> Path:
    """Where `build_base` keeps this base: its name changes with whatever decides the weights."""
    rng = random.Random(0)
    drawn = [_problem(rng, config) for _ in range(PROBLEMS_IN_KEY)]
    decisive = {
        "config": config.model_dump(mode="json"),
        "held_out": list(map(is_held_out, drawn)),
        "texts": list(_task_texts(config, lambda _: False, PROBLEMS_IN_KEY)),
        "versions": _versions(),
    }
    key = sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:12]
    return (default_cache_dir() if cache_dir is None else cache_dir) / f"base-{key}"


def new_model(config: ModelConfig, tokenizer: Any) -> Any:
    """An untrained model of this shape, in float32.

    Every matrix is drawn from a normal distribution; those whose output is added to the residual
    stream are scaled down by the square root of how many they are (MAI-Thinking-1 report,
    section 2.3).
    """
    special = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    if config.architecture == "munro":
        return MunroForCausalLM(
            MunroConfig.from_shape(
                config.sized(vocab_size=len(tokenizer)),
                max_position_embeddings=config.max_context,
                initializer_range=config.init_std,
                dropout=0.0,
                **special,
            )
        ).float()
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=config.hidden_size,
            intermediate_size=config.intermediate_size,
            num_hidden_layers=config.num_layers,
            num_attention_heads=config.num_heads,
            num_key_value_heads=config.num_heads,
            max_position_embeddings=config.max_context,
            tie_word_embeddings=config.tie_embeddings,
            initializer_range=config.init_std,
            **special,
        )
    ).float()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(RESIDUAL_OUTPUTS):
                parameter.div_(math.sqrt(2 * config.num_layers))
    return model


def _problem(rng: random.Random, config: BaseConfig) -> str:
    """As a predicate of what is held out knows it."""
    if config.corpus.tasks == "digits":
        return "".join(sorted(digits.drawn(rng, lambda _: False)))
    if config.corpus.tasks == "colours":
        return colours.key(*colours.drawn(rng, lambda _: False))
    return "+".join(map(str, problem(rng, config.corpus.digits, lambda _: False)))


def _tokenizer_texts(config: BaseConfig, is_held_out: HeldOut) -> Iterator[str]:
    yield from paragraphs(is_held_out)
    yield from _task_texts(config, is_held_out, TASKS_FOR_TOKENIZER)


def _task_texts(config: BaseConfig, is_held_out: HeldOut, count: int) -> Iterator[str]:
    rng = random.Random(0)
    for _ in range(count):
        if config.corpus.tasks in TEXTS:
            yield text_of(config.corpus, rng, is_held_out, config.corpus.read_share)
        else:
            numbers = problem(rng, config.corpus.digits, is_held_out)
            yield prompt(numbers) + worked(numbers)


def _versions() -> dict[str, Any]:
    return {
        "recipe": RECIPE_VERSION,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "tokenizers": tokenizers.__version__,
    }


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Hold this file's lock; wait for whoever has it."""
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
