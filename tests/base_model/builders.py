"""Small real models, tokenizers and corpora."""

from __future__ import annotations

from functools import cache
from typing import Any

from munro.base_model.config import BaseConfig
from munro.base_model.model.tokenizer import train_tokenizer
from munro.base_model.small.corpus import prompt, worked


def nothing_held_out(problem: str) -> bool:
    return False


def every_third_held_out(problem: str) -> bool:
    return sum(map(int, problem.split("+"))) % 3 == 0


@cache
def small_tokenizer() -> Any:
    texts = ["The sum of two numbers is a number.", prompt([347, 285]) + worked([347, 285])]
    return train_tokenizer(texts * 20, vocab_size=300, max_context=64)


def small_base(**training: Any) -> BaseConfig:
    """A base that trains in a second or two."""
    return BaseConfig.model_validate(
        {
            "vocab_size": 300,
            "model": {
                "architecture": "llama",
                "hidden_size": 32,
                "intermediate_size": 48,
                "num_layers": 1,
                "num_heads": 1,
                "max_context": 64,
            },
            "corpus": {"digits": 2, "text_share": 0.2},
            "training": {
                "num_steps": 12,
                "batch_rows": 4,
                "row_tokens": 32,
                "checkpoint_every": 4,
                "log_every": 1,
                "threads": 1,
                "schedule": {"warmup_steps": 3},
            }
            | training,
        }
    )
