"""Sizes by shape alone are those of the model itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from munro.base_model.ladder import ModelShape
from munro.machine.errors import BadConfig
from munro.machine.planning.sizes import of_config, of_folder, of_shape

RUNGS = {
    12: (0.365, 3.93), 18: (0.760, 12.80), 24: (1.479, 30.02), 30: (2.596, 58.33),
    36: (3.984, 100.30), 42: (6.112, 159.06), 66: (21.68, 615.18), 78: (35.62, 1015.28),
}  # fmt: skip
"""MAI-Thinking-1 report, Table 1, to the digits that its formula gives: active, total, in 1e9."""

PUBLIC = {
    "Qwen3-30B-A3B": (
        {"hidden_size": 2048, "num_hidden_layers": 48, "num_attention_heads": 32,
         "num_key_value_heads": 4, "head_dim": 128, "intermediate_size": 6144,
         "moe_intermediate_size": 768, "num_experts": 128, "num_experts_per_tok": 8,
         "decoder_sparse_step": 1, "mlp_only_layers": [], "vocab_size": 151936,
         "tie_word_embeddings": False},
        30.5, 3.3,
    ),
    "DeepSeek-V3": (
        {"hidden_size": 7168, "num_hidden_layers": 61, "num_attention_heads": 128,
         "num_key_value_heads": 128, "intermediate_size": 18432, "moe_intermediate_size": 2048,
         "n_routed_experts": 256, "n_shared_experts": 1, "num_experts_per_tok": 8,
         "first_k_dense_replace": 3, "moe_layer_freq": 1, "q_lora_rank": 1536,
         "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
         "vocab_size": 129280, "tie_word_embeddings": False},
        671.0, 37.0,
    ),
    "Qwen2.5-7B": (
        {"hidden_size": 3584, "num_hidden_layers": 28, "num_attention_heads": 28,
         "num_key_value_heads": 4, "intermediate_size": 18944, "vocab_size": 152064,
         "sliding_window": 131072, "use_sliding_window": False, "tie_word_embeddings": False},
        7.6, 7.6,
    ),
}  # fmt: skip
"""What their config.json says, and their parameters in 1e9 as their cards do."""


@pytest.mark.parametrize("layers", RUNGS)
def test_the_ladder_is_counted_as_the_report_does(layers: int) -> None:
    shape = ModelShape.rung(layers)
    sizes = of_shape(shape, "rung")
    assert sizes.parameters == shape.num_params()
    assert sizes.active == shape.num_params(active=True)
    active, total = RUNGS[layers]
    assert sizes.active / 1e9 == pytest.approx(active, abs=0.006)
    assert sizes.parameters / 1e9 == pytest.approx(total, abs=0.006)


@pytest.mark.parametrize("layers", RUNGS)
@pytest.mark.parametrize("context", [100, 16_384, 131_072])
def test_operations_are_those_that_the_ladder_counts(layers: int, context: int) -> None:
    shape = ModelShape.rung(layers)
    assert of_shape(shape, "rung").flops_per_token(context) == pytest.approx(
        shape.flops_per_token(context)
    )


def test_mai_base_1_is_what_the_report_says() -> None:
    sizes = of_shape(ModelShape.rung(78, latent_size=3072, expert_width=5120), "MAI-Base-1")
    assert sizes.parameters / 1e9 == pytest.approx(962.15, abs=0.01)
    assert sizes.active / 1e9 == pytest.approx(34.66, abs=0.01)
    # 13 global layers keep 4 KiB a token in bfloat16, 65 local ones no more than 512 tokens of it
    assert 2 * sizes.cached_numbers(100_000) == 4096 * (13 * 100_000 + 65 * 512)


@pytest.mark.parametrize("name", PUBLIC)
def test_public_models_have_the_parameters_of_their_cards(name: str) -> None:
    raw, total, active = PUBLIC[name]
    sizes = of_config(raw, name)
    assert sizes.parameters / 1e9 == pytest.approx(total, rel=0.02)
    assert sizes.active / 1e9 == pytest.approx(active, rel=0.05)


def test_a_latent_cache_is_narrow() -> None:
    raw, *_ = PUBLIC["DeepSeek-V3"]
    assert of_config(raw, "it").numbers_per_token == 576


def test_a_folder_without_weights_is_enough(tmp_path: Path) -> None:
    raw, total, _ = PUBLIC["Qwen2.5-7B"]
    (tmp_path / "config.json").write_text(json.dumps(raw))
    assert of_folder(tmp_path, "it").parameters / 1e9 == pytest.approx(total, rel=0.02)


@pytest.mark.parametrize(
    ("text", "said"),
    [("{}", "does not say num_hidden_layers"), ("{", "is no model's config"), ("[]", "no model's")],
)
def test_a_config_that_says_too_little_is_refused(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(BadConfig, match=said):
        of_folder(tmp_path, "it")


def test_a_folder_without_a_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match=r"no config\.json here"):
        of_folder(tmp_path, "it")
