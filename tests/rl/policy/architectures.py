"""Tiny random checkpoints of the architectures that people train, by transformers' own configs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers

from tests.rl.builders import VOCAB, save_model

LLAMA = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
MIXTURE = {**LLAMA, "num_experts_per_tok": 2, "moe_intermediate_size": 24}


def llama_like(name: str, **more: Any) -> Callable[[], Any]:
    """A config whose keys are Llama's, and some of its own."""
    return lambda: getattr(transformers, name)(**(LLAMA | more))


CONFIGS: dict[str, Callable[[], Any]] = {
    "Llama": llama_like("LlamaConfig"),
    "Qwen2": llama_like("Qwen2Config"),
    "Qwen3": llama_like("Qwen3Config", head_dim=8),
    "Gemma": llama_like("GemmaConfig", head_dim=8),
    "Gemma2": llama_like(
        "Gemma2Config", head_dim=8, sliding_window=4, query_pre_attn_scalar=8,
        final_logit_softcapping=4.0, attn_logit_softcapping=5.0,
    ),
    "Gemma3": llama_like("Gemma3TextConfig", head_dim=8, sliding_window=4),
    "Mistral": llama_like("MistralConfig", sliding_window=5),
    "Phi": llama_like("PhiConfig", resid_pdrop=0.1, embd_pdrop=0.1, attention_dropout=0.1),
    "Phi3": llama_like("Phi3Config", resid_pdrop=0.1, embd_pdrop=0.1),
    "SmolLM3": llama_like("SmolLM3Config", no_rope_layers=[1, 0]),
    "OLMo2": llama_like("Olmo2Config"),
    "OLMo3": llama_like("Olmo3Config", sliding_window=5),
    "GPT-2": lambda: transformers.GPT2Config(
        vocab_size=VOCAB, n_embd=32, n_layer=2, n_head=4, n_positions=256, initializer_range=0.2
    ),
    "GPT-NeoX": llama_like("GPTNeoXConfig", hidden_dropout=0.1, attention_dropout=0.1),
    "GPT-J": lambda: transformers.GPTJConfig(
        vocab_size=VOCAB, n_embd=32, n_layer=2, n_head=4, n_positions=256, rotary_dim=4,
        initializer_range=0.2, resid_pdrop=0.1, embd_pdrop=0.1, attn_pdrop=0.1,
    ),
    "GPT-Neo": lambda: transformers.GPTNeoConfig(
        vocab_size=VOCAB, hidden_size=32, num_layers=2, num_heads=4, max_position_embeddings=256,
        attention_types=[[["global", "local"], 1]], window_size=6, initializer_range=0.2,
        resid_dropout=0.1, embed_dropout=0.1, attention_dropout=0.1,
    ),
    "OPT": lambda: transformers.OPTConfig(
        vocab_size=VOCAB, hidden_size=32, ffn_dim=48, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=256, word_embed_proj_dim=32, init_std=0.2, dropout=0.1,
        attention_dropout=0.1, layerdrop=0.1,
    ),
    "Bloom": lambda: transformers.BloomConfig(
        vocab_size=VOCAB, hidden_size=32, n_layer=2, n_head=4, initializer_range=0.2,
        hidden_dropout=0.1, attention_dropout=0.1,
    ),
    "MPT": lambda: transformers.MptConfig(
        vocab_size=VOCAB, d_model=32, n_layers=2, n_heads=4, max_seq_len=256,
        initializer_range=0.2,
    ),
    "Falcon": lambda: transformers.FalconConfig(
        vocab_size=VOCAB, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=256, initializer_range=0.2, hidden_dropout=0.1,
        attention_dropout=0.1,
    ),
    "StableLM": llama_like("StableLmConfig", hidden_dropout=0.1, attention_dropout=0.1),
    "Starcoder2": llama_like(
        "Starcoder2Config", residual_dropout=0.1, embedding_dropout=0.1, attention_dropout=0.1
    ),
    "BigCode": lambda: transformers.GPTBigCodeConfig(
        vocab_size=VOCAB, n_embd=32, n_layer=2, n_head=4, n_positions=256, initializer_range=0.2
    ),
    "Cohere": llama_like("CohereConfig", logit_scale=0.25),
    "Cohere2": llama_like("Cohere2Config", logit_scale=0.25, sliding_window=5),
    "Granite": llama_like(
        "GraniteConfig", logits_scaling=4.0, embedding_multiplier=3.0, residual_multiplier=0.5
    ),
    "Nemotron": llama_like("NemotronConfig", head_dim=8, hidden_dropout=0.1, attention_dropout=0.1),
    "Persimmon": llama_like("PersimmonConfig", hidden_dropout=0.1, attention_dropout=0.1),
    "GLM": llama_like("GlmConfig", head_dim=8),
    "GLM-4": llama_like("Glm4Config", head_dim=8),
    "EXAONE 4": llama_like("Exaone4Config", sliding_window=5),
    "Seed": llama_like("SeedOssConfig", head_dim=8, residual_dropout=0.1, attention_dropout=0.1),
    "Qwen2-MoE": lambda: transformers.Qwen2MoeConfig(
        **MIXTURE, num_experts=6, shared_expert_intermediate_size=24, decoder_sparse_step=1
    ),
    "Qwen3-MoE": lambda: transformers.Qwen3MoeConfig(
        **MIXTURE, num_experts=6, head_dim=8, decoder_sparse_step=1
    ),
    "OLMoE": llama_like("OlmoeConfig", num_experts=6, num_experts_per_tok=2),
    "Mixtral": llama_like(
        "MixtralConfig", num_local_experts=4, num_experts_per_tok=2, router_jitter_noise=0.1
    ),
    "gpt-oss": llama_like(
        "GptOssConfig", num_local_experts=4, num_experts_per_tok=2, head_dim=8, sliding_window=5
    ),
    "Granite-MoE": llama_like(
        "GraniteMoeConfig", num_local_experts=4, num_experts_per_tok=2, logits_scaling=4.0
    ),
    "DeepSeek-V3": lambda: transformers.DeepseekV3Config(
        **(MIXTURE | {"num_key_value_heads": 4}), n_routed_experts=8, n_group=2, topk_group=1,
        n_shared_experts=1, first_k_dense_replace=1, kv_lora_rank=16, q_lora_rank=16,
        qk_rope_head_dim=8, qk_nope_head_dim=8, v_head_dim=8,
    ),
    "Mamba": lambda: transformers.MambaConfig(
        vocab_size=VOCAB, hidden_size=32, num_hidden_layers=2, state_size=4, time_step_rank=4,
        initializer_range=0.2,
    ),
    "Falcon-Mamba": lambda: transformers.FalconMambaConfig(
        vocab_size=VOCAB, hidden_size=32, num_hidden_layers=2, state_size=4, time_step_rank=4,
        initializer_range=0.2,
    ),
    "Mamba-2": lambda: transformers.Mamba2Config(
        vocab_size=VOCAB, hidden_size=32, num_hidden_layers=2, state_size=4, num_heads=8,
        head_dim=8, n_groups=2, chunk_size=8, initializer_range=0.2,
    ),
    "LFM2": llama_like("Lfm2Config", layer_types=["conv", "full_attention"]),
    "Falcon-H1": llama_like(
        "FalconH1Config", head_dim=8, mamba_d_ssm=32, mamba_n_heads=4, mamba_d_head=8,
        mamba_d_state=4, mamba_n_groups=1, mamba_chunk_size=8, lm_head_multiplier=0.5,
    ),
}  # fmt: skip


def tiny(kind: str, *, seed: int = 0) -> Any:
    """A random causal LM of that architecture, small but with weights that matter."""
    torch.manual_seed(seed)
    return transformers.AutoModelForCausalLM.from_config(CONFIGS[kind]()).eval()


def saved(kind: str, folder: Path) -> str:
    """Its checkpoint, with a tokenizer."""
    return save_model(folder, tiny(kind))
