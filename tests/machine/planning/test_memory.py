"""What a plan reckons that a backward pass keeps, against PyTorch's own account of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import LlamaConfig, PreTrainedConfig, Qwen3Config

from munro.base_model.ladder import ModelShape
from munro.base_model.model import MunroConfig
from munro.machine.planning.memory import kept_per_token
from munro.machine.planning.sizes import of_config
from munro.rl.policy.footprint import kept_bytes

ROW = 256
SIZES = {"num_hidden_layers": 6, "hidden_size": 192, "head_dim": 32, "num_key_value_heads": 2}
LLAMA = {"num_attention_heads": 4, "vocab_size": 64, "intermediate_size": 320}


def ours() -> MunroConfig:
    shape = ModelShape.rung(
        6, hidden_size=192, head_dim=32, num_kv_heads=2, num_heads=4, vocab_size=64,
        dense_width=320, moe_every=0, num_experts=0, top_k=0, latent_size=0, expert_width=0,
    )  # fmt: skip
    return MunroConfig.from_shape(shape, dropout=0.0)


@pytest.mark.parametrize("on_gpu", [False, True])
@pytest.mark.parametrize(
    "config",
    [ours(), LlamaConfig(**SIZES, **LLAMA), Qwen3Config(**SIZES, **LLAMA)],
    ids=["munro", "llama", "qwen3"],
)
def test_activations_are_what_torch_would_save(
    config: PreTrainedConfig, on_gpu: bool, tmp_path: Path
) -> None:
    config.save_pretrained(tmp_path)
    sizes = of_config(json.loads((tmp_path / "config.json").read_text()), "it")
    reckoned = ROW * sum(kept_per_token(sizes, layer, on_gpu=on_gpu) for layer in sizes.layers)
    kept = kept_bytes(tmp_path, num_tokens=ROW, row=ROW, checkpointing=False, halved=on_gpu)
    # the root keeps a little more; who has no norm on queries and keys keeps less
    assert 0.9 * kept < reckoned < 1.15 * kept
