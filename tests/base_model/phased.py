"""A recipe of two tiny phases over text files, for tests of phases and of ranks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from munro.base_model.training.recipe import PretrainRecipe

SHAPE = {
    "hidden_size": 32,
    "num_heads": 2,
    "num_kv_heads": 1,
    "head_dim": 16,
    "window": 16,
    "num_experts": 4,
    "top_k": 2,
}
FILES = 40


def write_texts(folder: Path) -> None:
    """Two sources: sums, and sentences about them."""
    for name, line in (("sums", "{0} + {1} = {2}"), ("prose", "{0} and {1} make {2}, of course.")):
        (folder / name).mkdir(parents=True)
        for number in range(FILES):
            lines = (line.format(number, other, number + other) for other in range(9))
            (folder / name / f"{number:02d}.txt").write_text("\n".join(lines))


def recipe(texts: Path, *, shape: dict[str, Any] | None = None, **first: Any) -> PretrainRecipe:
    """Eight steps of short rows, then four of long ones; `first` changes the first phase."""
    return PretrainRecipe.model_validate(
        {
            "name": "tiny",
            "model": {"num_layers": 6, "shape": SHAPE | (shape or {}), "options": {"dropout": 0.1}},
            "data": {
                "vocab_size": 300,
                "held_out_every": 8,
                "held_out_tokens": 300,
                "sources": [
                    {"path": str(texts / "sums"), "category": "math", "max_epochs": 8},
                    {"path": str(texts / "prose"), "category": "general", "max_epochs": 8},
                ],
            },
            "phase": {
                "pretrain": {
                    "tokens": 2048,
                    "context": 32,
                    "batch_tokens": 256,
                    "balance": 0.01,
                    "optimizer": {"learning_rate": 5e-3},
                    "schedule": {"warmup_steps": 2, "final": 0.1},
                    "parallelism": {"threads": 1},
                    "evaluate_every": 3,
                    "checkpoint_every": 2,
                    "log_every": 1,
                    "peak_flops": 1e12,
                }
                | first,
                "mid": {
                    "tokens": 1024,
                    "context": 64,
                    "optimizer": {"learning_rate": 5e-4},
                    "schedule": {"warmup_steps": 0},
                    "mixture": {"prose": 1.0},
                },
            },
        }
    )
