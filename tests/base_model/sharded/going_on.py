"""What the ranks of `test_meshes` do: save over a mesh and train on; go on from it over another."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch

from munro.base_model.checkpoint import Checkpoint
from munro.base_model.config import ParallelConfig
from munro.base_model.model.model import MunroForCausalLM
from munro.base_model.training.async_checkpoint import writer_of
from munro.base_model.training.sharding import Alone, Ranks
from munro.base_model.training.trainer import Trainer
from tests.base_model.tiny_munro import tiny_config
from tests.base_model.trainable import corpus, small_tokenizer, training


def make() -> Any:
    """With a buffer that training moves, and weights in pieces too small for some ranks."""
    sizes = {"vocab_size": len(small_tokenizer()), "num_experts": 8}
    return MunroForCausalLM(tiny_config(sizes=sizes, moe_round_tokens=24, router_bias=True))


def run(folder: Path) -> dict[str, Any]:
    """Loss and norm of the third and the fourth step; whoever finds no checkpoint writes it."""
    torch.use_deterministic_algorithms(True)
    ranks = Ranks() if int(os.environ.get("WORLD_SIZE", "1")) > 1 else Alone("cpu")
    world = ranks.over(ParallelConfig(**json.loads((folder / "mesh.json").read_text())))
    saved = Checkpoint(folder / "saved")
    resume = saved if saved.can_resume else None
    config = training(batch_rows=12, row_tokens=32, threads=1, bias_rate=0.01)
    trainer = Trainer(make, corpus(), config, world, resume=resume)
    if resume is not None:
        return _steps(trainer)
    with writer_of(trainer, small_tokenizer(), world) as writer:
        for _ in range(2):
            trainer.take_step()
        writer.save(saved.path)
        going = _steps(trainer)
        writer.wait()
        writer.finish(folder / "model", {"from": "a test"}, keep_state=False)
    return going


def _steps(trainer: Trainer) -> dict[str, Any]:
    taken = [trainer.take_step() for _ in range(2)]
    return {
        "step": trainer.step,
        "loss": [one.loss for one in taken],
        "norm": [one.grad_norm for one in taken],
        "weights": {name: one.numpy() for name, one in trainer.weights().items()},
    }
