"""Attention over trees, documents and windows against its definition; its block masks too."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor
from torch.nn.attention.flex_attention import create_block_mask

from munro.kernels import attention
from munro.kernels.attention import (
    Documents,
    RowMask,
    UnsupportedAttention,
    attend,
    by_blocks,
    documents_in,
    fused,
    reference,
)
from munro.kernels.attention.attend import Asked, Way, way
from munro.kernels.attention.masks import block_mask, rule
from tests.kernels.trees import random_rows, shared_prompt

BLOCKS = [
    f"{full}{side}_{what}"
    for side in ("kv", "q")
    for full in ("", "full_")
    for what in ("num_blocks", "indices")
]
NEAR = {torch.float32: 1e-5, torch.bfloat16: 2e-2}


@pytest.mark.parametrize("seed", range(12))
def test_block_masks_are_those_that_torch_reads_off_all_pairs(seed):
    rng = random.Random(seed)
    length = rng.choice([1, 127, 128, 129, 300, 512, 777])
    until, position = random_rows(rng, rng.choice([1, 2]), length)
    for window in (0, 1, 5, 100, 128, 300):
        ours = block_mask(until, position_RL=position, window=window)
        sees = rule(until, position, window)
        theirs = create_block_mask(sees, len(until), None, length, length, device="cpu")
        for name in BLOCKS:
            assert torch.equal(getattr(ours, name), getattr(theirs, name)), (name, window)
        assert ours.shape == theirs.shape


def test_the_rule_is_the_definition():
    until, position = random_rows(random.Random(5), 2, 40)
    for window in (0, 3):
        seen = reference.visible(until, position, window)
        row, query, key = torch.meshgrid(
            torch.arange(2), torch.arange(40), torch.arange(40), indexing="ij"
        )
        assert torch.equal(rule(until, position, window)(row, None, query, key), seen)


def test_a_tree_is_what_each_branch_would_be_alone():
    until, position = shared_prompt(3, 2, 2)
    seen = reference.visible(until)[0]
    assert until.tolist() == [[7, 7, 7, 5, 5, 7, 7]]
    assert position.tolist() == [[0, 1, 2, 3, 4, 3, 4]]
    assert seen[6].tolist() == [True, True, True, False, False, True, True]
    assert reference.visible(until, position, 3)[0, 6].tolist() == [False] * 2 + [
        True, False, False, True, True,
    ]  # fmt: skip


def given(heads: int, groups: int, length: int, dtype: torch.dtype, rows: int = 1) -> list[Tensor]:
    torch.manual_seed(length)
    made = [torch.randn(rows, of, length, 16, dtype=dtype) for of in (heads, groups, groups, heads)]
    return [x.requires_grad_() for x in made[:3]] + made[3:]


def assert_near(got: list[Tensor], expected: list[Tensor], near: float) -> None:
    for one, other in zip(got, expected, strict=True):
        scale = max(1.0, float(other.float().abs().max()))
        assert float((one.float() - other.float()).abs().max()) < near * scale


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("change", ["", "softcap", "sinks"])
@pytest.mark.parametrize(
    ("rows", "length", "window"), [(1, 1, 0), (2, 130, 7), (1, 1100, 0), (1, 1030, 200)]
)
def test_blocks_of_queries_are_the_definition(rows, length, window, change, dtype):
    until, position = random_rows(random.Random(length), rows, length)
    *leaves, asked = given(4, 2, length, dtype, rows)
    how = {"scaling": 0.25}
    if change == "softcap":
        how["softcap"] = 2.0
    if change == "sinks":
        how["sinks"] = torch.randn(4, requires_grad=True)
        leaves.append(how["sinks"])
    out = by_blocks.attend(*leaves[:3], until_RL=until, position_RL=position, window=window, **how)
    mask = reference.visible(until, position, window)[:, None]
    defined = reference.dense(*leaves[:3], mask, **how)
    ours, theirs = ([x.detach(), *torch.autograd.grad(x, leaves, asked)] for x in (out, defined))
    assert_near(ours, theirs, NEAR[dtype])


def test_blocks_of_queries_make_no_mask_of_all_pairs(monkeypatch):
    until, position = shared_prompt(600, 6, 500)
    *leaves, asked = given(2, 1, until.shape[1], torch.float32)
    sizes, keys = [], []
    visible = reference.visible

    def spied(*args, **kwargs):
        seen = visible(*args, **kwargs)
        sizes.append(seen.shape[1])
        keys.append(seen.shape[2])
        return seen

    monkeypatch.setattr(reference, "visible", spied)
    out = by_blocks.attend(*leaves, until_RL=until, position_RL=position, window=0, scaling=0.25)
    torch.autograd.grad(out, leaves, asked)
    assert max(sizes) <= by_blocks.QUERIES
    # and what lies in between is left out: a prompt and some replies are not the whole row
    assert max(keys) < until.shape[1] // 2
    assert len(sizes) == 2 * -(-until.shape[1] // by_blocks.QUERIES)


def test_documents_are_found_and_branches_are_none():
    assert documents_in(shared_prompt(3, 2, 2)[0].numpy()) is None
    until = np.array([[2, 2, 5, 5, 5], [5, 5, 5, 5, 5]])
    starts, longest = documents_in(until)
    assert starts.tolist() == [0, 2, 5, 10]
    assert longest == 5
    plain = RowMask(
        torch.full((2, 5), 5), torch.arange(5).expand(2, 5),
        documents=Documents(starts=torch.tensor([0, 5, 10]), longest=5),
    )  # fmt: skip
    assert plain.is_plain
    assert plain.narrowed(5) == 0
    assert plain.narrowed(4) == 4
    assert "2 documents" in repr(plain)


def asked(**given: object) -> Asked:
    usual = {"twin": "fused", "columns": 4096, "is_plain": False}
    return Asked(**(usual | {"by_lengths": False, "changes_scores": False} | given))


def test_which_way_a_layer_goes():
    assert way(asked()) is Way.FLEX
    assert way(asked(columns=500)) is Way.DENSE
    assert way(asked(columns=500, changes_scores=True)) is Way.FLEX
    assert way(asked(is_plain=True, by_lengths=True)) is Way.CAUSAL
    assert way(asked(by_lengths=True)) is Way.LENGTHS
    assert way(asked(by_lengths=True, changes_scores=True)) is Way.FLEX
    assert way(asked(twin="plain")) is Way.BLOCKS
    assert way(asked(twin="plain", columns=1024)) is Way.DENSE
    assert way(asked(twin="plain", columns=1024, changes_scores=True)) is Way.REFERENCE
    assert way(asked(twin="plain", is_plain=True)) is Way.CAUSAL
    assert way(asked(twin="reference", is_plain=True)) is Way.REFERENCE


@pytest.mark.parametrize("window", [0, 9])
def test_short_rows_on_a_cpu_have_the_bits_they_always_had(window):
    until, position = (x.repeat(2, 1) for x in shared_prompt(58, 2, 6))
    query, key, value, _ = given(4, 2, 70, torch.float32, 2)
    mask = RowMask(until, position)
    assert not mask.chunks(window)  # there is next to nothing to spare
    got = attend(query, key, value, mask, scaling=0.25, window=window)
    whole = reference.added(reference.visible(until, position, window), torch.float32)
    expected = torch.nn.functional.scaled_dot_product_attention(
        query, reference.grouped(key, 4), reference.grouped(value, 4), attn_mask=whole, scale=0.25
    )
    assert torch.equal(got, expected)


SIZES = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0,
    "bos_token_id": 1, "eos_token_id": 2, "initializer_range": 0.2,
}  # fmt: skip
MODELS = {
    "Llama": lambda: transformers.LlamaConfig(**SIZES),
    "Qwen3": lambda: transformers.Qwen3Config(**SIZES),
    "Gemma2": lambda: transformers.Gemma2Config(
        **SIZES, sliding_window=5, attn_logit_softcapping=1.0, query_pre_attn_scalar=4
    ),
    "Gemma3": lambda: transformers.Gemma3TextConfig(
        **SIZES, sliding_window=5, layer_types=["sliding_attention", "full_attention"]
    ),
    "gpt-oss": lambda: transformers.GptOssConfig(
        **SIZES, num_local_experts=2, num_experts_per_tok=1, sliding_window=5
    ),
}


@pytest.mark.parametrize("kind", MODELS)
def test_a_model_of_transformers_over_a_tree_is_its_branches_alone(kind):
    torch.manual_seed(0)
    attention.register()
    ours = transformers.AutoModelForCausalLM.from_config(
        MODELS[kind](), attn_implementation=attention.NAME
    ).eval()
    theirs = transformers.AutoModelForCausalLM.from_config(
        MODELS[kind](), attn_implementation="eager"
    ).eval()
    theirs.load_state_dict(ours.state_dict())
    until, position = shared_prompt(9, 3, 4)
    ids = torch.randint(3, 64, (1, until.shape[1]))
    mask = attention.row_mask(ours.config, until, position)
    position = position.long()
    got = ours(input_ids=ids, position_ids=position, attention_mask=mask, use_cache=False).logits
    for branch in range(3):
        columns = [*range(9), *range(9 + 4 * branch, 13 + 4 * branch)]
        alone = theirs(input_ids=ids[:, columns], use_cache=False).logits
        assert torch.allclose(got[:, columns], alone, atol=2e-5)
    got.square().sum().backward()
    assert all(weight.grad is not None for weight in ours.model.parameters())
    # a mask of its own is as it would be with torch's attention, caps and sinks included
    plain = [model(input_ids=ids, use_cache=False).logits for model in (ours, theirs)]
    assert torch.allclose(*plain, atol=2e-5)


class Layer(torch.nn.Module):
    is_causal = True


@pytest.mark.parametrize(
    ("how", "what"),
    [
        ({"dropout": 0.1}, "dropout"),
        ({"position_bias": torch.zeros(1)}, "a bias of positions"),
        ({"is_causal": False}, "later tokens"),
        ({}, "cached keys"),
    ],
)
def test_what_cannot_be_computed_is_refused_in_a_sentence(how, what):
    until, position = random_rows(random.Random(2), 1, 20)
    query, key, value, _ = given(4, 2, 20, torch.float32)
    if not how:
        query = query[:, :, -1:]
    with pytest.raises(UnsupportedAttention, match=what):
        attention.models.attention_forward(
            Layer(), query, key, value, RowMask(until, position), **how
        )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, while it compiles
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("change", ["", "softcap", "scale"])
def test_flex_compiled_for_every_shape_is_the_definition(change):
    """Its forward pass runs on a CPU too."""
    until, position = random_rows(random.Random(3), 2, 300)
    query, key, value, _ = (x.detach() for x in given(4, 2, 300, torch.float32, 2))
    how = {"scaling": 0.3 if change == "scale" else 0.25}
    if change == "softcap":
        how["softcap"] = 2.0
    for window in (0, 60):
        block = block_mask(until, position_RL=position, window=window)
        got = fused.flex(query, key, value, block, **how)
        mask = reference.visible(until, position, window)[:, None]
        assert torch.allclose(got, reference.dense(query, key, value, mask, **how), atol=1e-5)
