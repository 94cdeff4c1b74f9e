"""A ladder so small that a rung trains in a second, on text made up here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from munro.base_model.scaling.config import LadderConfig

SHAPE = {
    "pattern": "LG",
    "window": 16,
    "num_kv_heads": 1,
    "num_heads": 1,
    "head_dim": 8,
    "num_experts": 4,
    "top_k": 2,
}
TRAINING = {"batch_rows": 4, "row_tokens": 32, "threads": 1, "log_every": 1, "balance": 0.01}


def sources(folder: str = "somewhere") -> list[dict[str, Any]]:
    return [
        {"name": "one", "path": f"{folder}/one", "category": "code", "weight": 2.0},
        {"name": "two", "path": f"{folder}/two", "category": "general", "weight": 1.0},
    ]


def write_texts(folder: Path) -> None:
    """Two sources of a few dozen short files each."""
    for name, words in (("one", "def x return y if else"), ("two", "the cat sat on a mat")):
        (folder / name).mkdir(parents=True)
        some = words.split()
        for number in range(40):
            text = " ".join(some[(number * step + step) % len(some)] for step in range(60))
            (folder / name / f"{number:03d}.txt").write_text(f"{number}: {text}\n")


def ladder_config(folder: str = "somewhere", **changes: Any) -> LadderConfig:
    raw: dict[str, Any] = {
        "name": "test",
        "tokens_per_param": 0.1,
        "rungs": [
            {"name": f"W{width}", "num_layers": 2, "shape": {"hidden_size": width}}
            for width in (8, 16, 24)
        ],
        "baseline": {"shape": SHAPE, "model": {"dropout": 0.0}},
        "candidates": {
            "doubled": {"shape": {"num_experts": 8}},
            "slow": {
                "learning_rate": 0.5,
                "training": {"optimizer": {"betas": [0.8, 0.9]}},
                "weights": {"one": 1.0},
            },
        },
        "data": {"vocab_size": 300, "held_out_every": 5, "sources": sources(folder)},
    }
    training = TRAINING | changes.pop("training", {})
    rungs = changes.get("rungs", raw["rungs"])
    if rungs is not raw["rungs"]:
        raw["baseline"] = {}
    return LadderConfig.model_validate({**raw, **changes, "training": training})
