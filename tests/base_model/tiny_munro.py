"""Our model, small enough for a test, with every part of it at work."""

from __future__ import annotations

from typing import Any

import torch

from munro.base_model.ladder import ModelShape
from munro.base_model.model.model import MunroConfig, MunroForCausalLM

WINDOW = 4
SIZES = {
    "hidden_size": 32,
    "num_heads": 4,
    "num_kv_heads": 2,
    "head_dim": 8,
    "window": WINDOW,
    "num_experts": 6,
    "top_k": 2,
    "vocab_size": 40,
}


def tiny_config(num_layers: int = 6, *, sizes: dict[str, Any] | None = None, **others: Any) -> Any:
    shape = ModelShape.rung(num_layers, **{**SIZES, **(sizes or {})})
    return MunroConfig.from_shape(
        shape, **{"max_position_embeddings": 64, "dropout": 0.0, **others}
    )


def tiny_model(num_layers: int = 6, *, seed: int = 0, **others: Any) -> Any:
    """Weights larger than at the start of training, so that every layer has a say."""
    torch.manual_seed(seed)
    model = MunroForCausalLM(tiny_config(num_layers, **others))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.5 if "embed" in name else 0.2)
            else:
                parameter.uniform_(0.5, 1.5)
    return model.eval()


def tokens(*shape: int, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, SIZES["vocab_size"], shape, generator=generator)
