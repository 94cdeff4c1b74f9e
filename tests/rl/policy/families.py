"""Tiny random checkpoints of eight families that people train, of sizes that vLLM's kernels take.

Each keeps what makes its family itself: tied or untied output matrix, sliding windows, norms on
queries and keys, soft caps, partial rotation, biases, experts, attention sinks.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers

from tests.rl.builders import VOCAB, save_model

CONTEXT = 256
SIZES: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 128,
    "intermediate_size": 192,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": CONTEXT,
    "initializer_range": 0.1,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def config(name: str, **more: Any) -> Callable[[], Any]:
    return lambda: getattr(transformers, name)(**(SIZES | more))


FAMILIES: dict[str, Callable[[], Any]] = {
    "Qwen3": config("Qwen3Config", head_dim=32, tie_word_embeddings=True),
    "Llama 3": config(
        "LlamaConfig",
        tie_word_embeddings=False,
        rope_parameters={
            "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 64,
        },
    ),
    "Gemma 3": config(
        "Gemma3TextConfig", head_dim=32, sliding_window=32, query_pre_attn_scalar=32,
        layer_types=["sliding_attention", "full_attention"], tie_word_embeddings=True,
    ),
    "Mistral": config("MistralConfig", head_dim=32, sliding_window=32),
    "Phi-3": config("Phi3Config", num_key_value_heads=4, resid_pdrop=0.1, embd_pdrop=0.1),
    "SmolLM": config("LlamaConfig", tie_word_embeddings=True, rope_theta=100000.0),
    "Qwen3-MoE": config(
        "Qwen3MoeConfig", head_dim=32, num_experts=6, num_experts_per_tok=2,
        moe_intermediate_size=64, decoder_sparse_step=1, mlp_only_layers=[],
    ),
    "gpt-oss": config(
        "GptOssConfig", head_dim=32, num_local_experts=4, num_experts_per_tok=2, sliding_window=32,
        intermediate_size=128,
    ),
}  # fmt: skip


def saved(kind: str, folder: Path, *, seed: int = 0) -> str:
    """Its checkpoint, with a tokenizer."""
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(FAMILIES[kind]()).eval()
    return save_model(folder, model)
