"""A model that is filled from its files is the one that transformers loads, to the last bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

from munro.base_model.parallel.reading import fill, materialise
from munro.base_model.weights import BadWeights, blank, load
from munro.rl.policy.loading import attention_of
from tests.base_model.tiny_munro import tiny_model
from tests.rl.builders import VOCAB, make_model, save_model


def qwen() -> Any:
    shape = {"hidden_size": 32, "intermediate_size": 48, "moe_intermediate_size": 24}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
    more = {"vocab_size": VOCAB, "num_hidden_layers": 2, "num_experts": 4, "num_experts_per_tok": 2}
    return Qwen3MoeForCausalLM(Qwen3MoeConfig(**shape, **heads, **more))


MODELS = {
    "ours": lambda: tiny_model(sizes={"vocab_size": VOCAB}, router_bias=True),
    "tied": lambda: make_model(tied=True),
    "untied": lambda: make_model(tied=False),
    "made": qwen,
}


def filled(folder: str) -> tuple[Any, tuple[str, ...]]:
    model = blank(Path(folder), attention=attention_of, dtype=torch.float32)
    assert all(parameter.device.type == "meta" for parameter in model.parameters())
    materialise(model, torch.device("cpu"))
    return model, fill(model, Path(folder))


@pytest.mark.parametrize("kind", MODELS)
def test_it_is_what_transformers_loads(tmp_path, kind):
    folder = save_model(tmp_path, MODELS[kind]())
    model, whole = filled(folder)
    expected = load(folder, attention=attention_of, dtype=torch.float32)
    assert len(list(model.parameters())) == len(list(expected.parameters())), "tied ones are one"
    ours, theirs = model.state_dict(), expected.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    ids = torch.arange(9)[None]
    # how a weight lies in memory (a file's own pages, or not) decides which sums a product takes
    torch.testing.assert_close(model(input_ids=ids).logits, expected(input_ids=ids).logits)
    # two weights of each of the two layers
    assert len(whole) == (4 if kind == "made" else 0)
    assert len(getattr(model, "_weight_conversions", [])) == len(
        getattr(expected, "_weight_conversions", None) or []
    )


@pytest.mark.parametrize("how", ["missing", "wide", "nan"])
def test_what_is_not_whole_is_refused_by_its_name(tmp_path, how):
    folder = save_model(tmp_path, make_model(tied=True))
    name, file = "model.norm.weight", tmp_path / "model.safetensors"
    weights = load_file(file)
    if how == "missing":
        del weights[name]
    else:
        weights[name] = torch.ones(7) if how == "wide" else weights[name] * torch.nan
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(BadWeights, match=name):
        filled(folder)
