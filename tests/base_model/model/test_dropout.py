"""Dropout stands on every sub-layer's output, in every kind of model, and nowhere else."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    FalconConfig,
    FalconForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    OPTConfig,
    OPTForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
)

from munro.base_model.model.dropout import NoSubLayers, set_sublayer_dropout
from munro.base_model.model.model import MunroForCausalLM
from tests.base_model.tiny_munro import tiny_config
from tests.rollout.tiny_llama import tiny_experts, tiny_llama
from tests.rounding import assert_near, bound, largest

SIZES = {
    "vocab_size": 300,
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
}
MODELS = {
    "ours": lambda: MunroForCausalLM(tiny_config()),
    "Llama": lambda: tiny_llama(tied=True),
    "Qwen 3 with experts": tiny_experts,
    "GPT-2": lambda: GPT2LMHeadModel(GPT2Config(vocab_size=300, n_embd=64, n_layer=2, n_head=2)),
    "Gemma 2": lambda: Gemma2ForCausalLM(Gemma2Config(**SIZES, head_dim=32)),
    "Phi 3": lambda: Phi3ForCausalLM(Phi3Config(**SIZES)),
}
IDS = torch.arange(1, 13)[None]


def logits(model: Any, seed: int = 0) -> torch.Tensor:
    torch.manual_seed(seed)
    with torch.no_grad():
        return model(input_ids=IDS, use_cache=False).logits


@pytest.mark.parametrize("kind", MODELS)
def test_it_acts_in_training_only_and_follows_the_seed(kind):
    model = MODELS[kind]().eval()
    plain = logits(model)
    layers = model.config.get_text_config().num_hidden_layers
    assert set_sublayer_dropout(model, 0.3) == 2 * layers
    assert torch.equal(logits(model), plain)
    model.train()
    assert not torch.equal(logits(model), plain)
    assert torch.equal(logits(model), logits(model))
    assert not torch.equal(logits(model), logits(model, seed=1))
    assert set_sublayer_dropout(MODELS[kind]().train(), 0.0) == 0


def test_numbers_are_silenced_wherever_they_stand_and_the_saved_config_keeps_them():
    model = FalconForCausalLM(
        FalconConfig(
            vocab_size=300, hidden_size=64, num_hidden_layers=2, num_attention_heads=2,
            hidden_dropout=0.3, attention_dropout=0.3,
        )
    ).eval()  # fmt: skip
    plain = logits(model)
    assert not torch.equal(logits(model.train()), plain)
    for _ in range(2):
        set_sublayer_dropout(model, 0.0)
        assert torch.equal(logits(model.train()), plain)
    assert (model.config.hidden_dropout, model.config.attention_dropout) == (0.3, 0.3)


@pytest.mark.parametrize("kind", MODELS)
def test_without_it_training_mode_drops_nothing(kind):
    model = MODELS[kind]().eval()
    plain = logits(model)
    set_sublayer_dropout(model, 0.0)
    assert torch.equal(logits(model.train()), plain)


def test_entries_are_dropped_or_scaled_before_they_join_the_residual_stream():
    model = tiny_llama(tied=True)
    set_sublayer_dropout(model, 0.5)
    layer = model.model.layers[0].train()
    seen: dict[str, torch.Tensor] = {}

    def keep(name: str, module: nn.Module) -> None:
        module.register_forward_hook(lambda _m, i, o: seen.update({name: (i[0], o)}))

    keep("embedding", model.model.embed_tokens)
    keep("o_proj", layer.self_attn.o_proj)
    keep("second_norm", layer.post_attention_layernorm)
    logits(model.train())
    added = seen["second_norm"][0] - seen["embedding"][1]
    whole = seen["o_proj"][1]
    # a difference of the residual stream before and after, hence rounded on its scale
    scale = max(map(largest, seen["second_norm"]))
    dropped = added.abs() <= bound(1, scale)
    assert 0.4 < dropped.float().mean() < 0.6
    assert_near(added[~dropped], 2 * whole[~dropped], 3, scale=scale)


def test_a_model_whose_sub_layers_are_not_known_is_refused():
    config = OPTConfig(
        vocab_size=300, hidden_size=64, ffn_dim=64, num_hidden_layers=2, num_attention_heads=2,
        word_embed_proj_dim=64,
    )  # fmt: skip
    with pytest.raises(NoSubLayers, match="OPTDecoderLayer is not built of"):
        set_sublayer_dropout(OPTForCausalLM(config), 0.1)
    with pytest.raises(NoSubLayers, match="no list of layers"):
        set_sublayer_dropout(nn.Linear(2, 2), 0.1)
