"""What the ranks of `test_steps` do: ten steps of the trainer, over one mesh after another."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import torch

from munro.base_model.config import OptimizerConfig, ParallelConfig
from munro.base_model.model.model import MunroForCausalLM
from munro.base_model.training.evaluation import HeldOutSet, evaluate
from munro.base_model.training.sharding import Alone, Ranks
from munro.base_model.training.trainer import Trainer
from tests.base_model.tiny_munro import tiny_config
from tests.base_model.trainable import corpus, small_tokenizer, training

STEPS = 10


def make() -> Any:
    sizes = {"vocab_size": len(small_tokenizer()), "num_experts": 8}
    return MunroForCausalLM(tiny_config(sizes=sizes, moe_round_tokens=24))


def run(folder: Path) -> dict[str, Any]:
    """By the mesh: losses and norms of ten steps, a held-out loss, the first rank's weights."""
    wanted: list[dict[str, int]] = pickle.loads((folder / "meshes.pkl").read_bytes())
    world = Ranks() if int(os.environ.get("WORLD_SIZE", "1")) > 1 else Alone("cpu")
    return {str(mesh): _steps(world.over(ParallelConfig(**mesh))) for mesh in wanted}


def _steps(world: Any) -> dict[str, Any]:
    torch.use_deterministic_algorithms(True)
    config = training(
        num_steps=STEPS,
        batch_rows=8,
        row_tokens=32,
        threads=1,
        # a step that small gradients decide would be one of their last bits
        optimizer=OptimizerConfig(learning_rate=1e-3, eps=1e-4, max_grad_norm=0.5),
    )
    trainer = Trainer(make, corpus(), config, world)
    taken = [trainer.take_step() for _ in range(STEPS)]
    rows = trainer._read()[0]
    held_out = HeldOutSet(name="more", category="text", rows=rows, num_bytes=100)
    (score,) = evaluate(trainer.model, [held_out], micro_rows=2, world=world).scores
    return {
        "loss": [one.loss for one in taken],
        "norm": [one.grad_norm for one in taken],
        "counts": [one.counts.tolist() for one in taken],
        "nll": score.nll,
        "weights": {name: one.numpy() for name, one in trainer.weights().items()},
    }
