"""One optimizer step of the base model's trainer: the report's model at 12 layers, 8,192 tokens.

MFU counts 6 products a token and active weight (attention left out), against the 989.5 TFLOP/s that
vendors state for this chip in bfloat16.
"""

from __future__ import annotations

import numpy as np
import torch
from gpu.learner import PEAK, empty, timed
from gpu.rows import Rows, device_of

from munro.base_model.config import PretrainConfig
from munro.base_model.ladder import ModelShape
from munro.base_model.model.configuration import MunroConfig
from munro.base_model.model.model import MunroForCausalLM
from munro.base_model.training.sharding import world
from munro.base_model.training.trainer import Trainer


class RandomDocuments:
    """Of 2,000 tokens each: what is read does not change how long it takes."""

    def __init__(self, vocabulary: int) -> None:
        self._vocabulary = vocabulary

    def tokens(self, index: int, progress: float) -> list[int]:  # noqa: ARG002 - the contract's
        draw = np.random.default_rng(index)
        found: list[int] = draw.integers(self._vocabulary, size=2000).tolist()
        return found


def run(rows: Rows, *, smoke: bool) -> None:
    device = device_of(smoke=smoke)
    toy = {"num_experts": 8, "top_k": 2, "vocab_size": 512}
    shape = ModelShape.rung(6 if smoke else 12, **(toy if smoke else {}))
    row, number = (128, 1) if smoke else (8192, 1)
    config = PretrainConfig(
        batch_rows=number, row_tokens=row, precision="float32" if smoke else "bfloat16"
    )
    active = shape.num_params(active=True)
    about = {"model": f"L{shape.num_layers}", "active": active, "whole": shape.num_params()}
    try:
        made = MunroConfig.from_shape(shape, max_position_embeddings=row)
        with torch.device(device):
            model = MunroForCausalLM(made)
        trainer = Trainer(lambda: model, RandomDocuments(shape.vocab_size), config, world())
        found = timed(trainer.take_step, device)
        tokens_s = row * number / found["seconds"]
        mfu = 6.0 * active * tokens_s / PEAK
        rows.note(**about, subject="munro", **found, tokens_s=tokens_s, mfu=mfu)
    except Exception as error:  # noqa: BLE001 - what does not run is a result
        rows.failed(error, **about)
    empty(device)
