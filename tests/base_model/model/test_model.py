"""The model as transformers sees it, and what each kind of layer can see."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from munro.base_model.checkpoint import Checkpoint
from munro.base_model.config import OptimizerConfig
from munro.base_model.data.shards.packing import attention_mask
from munro.base_model.ladder import ModelShape, ShapeError
from munro.base_model.model.model import MunroConfig, MunroForCausalLM
from munro.base_model.training.optim import parameter_groups
from tests.base_model.builders import small_tokenizer
from tests.base_model.tiny_munro import WINDOW, tiny_config, tiny_model, tokens
from tests.rounding import assert_near, bound, depth

ROUNDING = bound(depth(tiny_model(), 40), scale=16.0)
"""Experts multiply other tokens beside a given one, in another order, when a token changes."""


@pytest.mark.parametrize(
    "overrides",
    [{}, {"latent_size": 3072, "expert_width": 5120}, {"moe_every": 1}, {"num_shared_experts": 2}],
)
def test_the_model_has_as_many_parameters_as_its_shape_says(overrides: dict) -> None:
    shape = ModelShape.rung(78 if "latent_size" in overrides else 12, **overrides)
    with torch.device("meta"):
        model = MunroForCausalLM(MunroConfig.from_shape(shape))

    assert sum(parameter.numel() for parameter in model.parameters()) == shape.num_params()


def test_a_configuration_gives_its_shape_back() -> None:
    shape = ModelShape.rung(12, window=64, moe_every=3, num_shared_experts=1)
    assert MunroConfig.from_shape(shape).shape == ModelShape.rung(
        12, pattern="LLLLLG" * 2, window=64, moe_every=3, num_shared_experts=1
    )


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"gating": "sigmoid"}, "gating = 'sigmoid': choose one of softmax_topk, topk_softmax"),
        ({"layer_types": ["full_attention"]}, "give each of the 12 layers one of full_attention"),
        ({"num_experts": 4}, "num_experts = 4 is fewer than num_experts_per_tok = 8"),
        ({"num_attention_heads": 12}, "num_attention_heads = 12 is not a multiple"),
        ({"tie_word_embeddings": False}, "one embedding for both"),
        ({"dropout": 1.0}, "dropout = 1.0"),
    ],
)
def test_a_configuration_that_makes_no_model_is_a_sentence(fields: dict, named: str) -> None:
    with pytest.raises(ShapeError, match=named):
        MunroConfig(**fields)


@pytest.mark.parametrize("sizes", [{}, {"moe_every": 1}, {"latent_size": 0, "moe_every": 3}])
def test_generation_with_a_cache_equals_generation_without_beyond_the_window(sizes: dict) -> None:
    model = tiny_model(sizes=sizes)
    prompt = tokens(3, 2 * WINDOW)
    greedy = {"max_new_tokens": 4 * WINDOW, "do_sample": False, "pad_token_id": 0}

    told = model.generate(
        prompt, use_cache=True, output_logits=True, return_dict_in_generate=True, **greedy
    )
    cached = told.sequences

    assert cached.shape == (3, 6 * WINDOW)
    with torch.no_grad():
        whole = model(cached).logits[:, 2 * WINDOW - 1 : -1]
    assert_near(torch.stack(told.logits, dim=1), whole, depth(model, 6 * WINDOW))


def test_a_local_layer_s_cache_forgets_what_its_window_has_left_behind() -> None:
    model = tiny_model()
    cache = model(tokens(1, 5 * WINDOW), use_cache=True).past_key_values

    lengths = [layer.keys.shape[-2] for layer in cache.layers]

    assert lengths == [WINDOW - 1] * 5 + [5 * WINDOW]


def test_rows_padded_on_the_left_say_what_they_say_alone() -> None:
    model = tiny_model()
    ids = tokens(1, 9)
    padded = torch.cat([torch.zeros(1, 5, dtype=torch.long), ids], dim=1)
    mask = (torch.arange(14) >= 5).long()[None]
    positions = (mask.cumsum(-1) - 1).clamp(min=0)

    with torch.no_grad():
        alone = model(ids)
        told = model(padded, attention_mask=mask, position_ids=positions)

    assert_near(told.logits[:, 5:], alone.logits, depth(model, 14))
    assert (told.routing.counts == alone.routing.counts).all()


def changed(model: MunroForCausalLM, at: int, length: int) -> torch.Tensor:
    """[T] how much each position's logits change with the token at `at`."""
    ids = tokens(1, length)
    other = ids.clone()
    other[0, at] = (other[0, at] + 1) % model.config.vocab_size
    with torch.no_grad():
        return (model(ids).logits - model(other).logits).abs().amax(-1)[0]


def test_without_global_layers_a_token_outside_every_window_changes_nothing() -> None:
    layers = 2
    local = tiny_model(layers, sizes={"pattern": "L"})
    reach = layers * (WINDOW - 1)

    change = changed(local, at=3, length=3 + 2 * reach)

    assert change[:3].max() < ROUNDING
    assert change[3 : 4 + reach].min() > 10 * ROUNDING
    assert change[4 + reach :].max() < ROUNDING


def test_a_token_outside_every_window_reaches_the_end_through_a_global_layer() -> None:
    mixed = tiny_model(2, sizes={"pattern": "LG"})

    change = changed(mixed, at=3, length=40)

    assert change[:3].max() < ROUNDING
    assert change[3:].min() > 10 * ROUNDING


def test_a_global_layer_knows_no_positions_and_a_local_one_does() -> None:
    ids = tokens(1, 8)
    swapped = ids[:, [1, 0, *range(2, 8)]]
    for pattern, is_blind in (("G", True), ("L", False)):
        model = tiny_model(1, sizes={"pattern": pattern, "window": 8})
        with torch.no_grad():
            difference = model(ids).logits[0, -1] - model(swapped).logits[0, -1]
        assert (difference.abs().max().item() < ROUNDING) is is_blind


def test_packed_documents_say_what_they_say_alone() -> None:
    model = tiny_model()
    first, second = tokens(1, 11, seed=2), tokens(1, 9, seed=3)
    packed = torch.cat([first, second], dim=1)
    documents = torch.tensor([[0] * 11 + [1] * 9])
    positions = torch.cat([torch.arange(11), torch.arange(9)])[None]

    with torch.no_grad():
        together = model(
            packed,
            attention_mask=attention_mask(documents, torch.float32),
            position_ids=positions,
        ).logits
        apart = torch.cat([model(first).logits, model(second).logits], dim=1)

    assert_near(together, apart, depth(model, 20))


def test_branches_of_one_prefix_in_a_row_say_what_they_say_alone() -> None:
    from munro.rl.policy.model import tree_mask

    model = tiny_model()
    prefix, left, right = tokens(1, 7, seed=2), tokens(1, 6, seed=3), tokens(1, 5, seed=4)
    until = torch.tensor([[18] * 7 + [13] * 6 + [18] * 5])
    positions = torch.cat([torch.arange(13), torch.arange(7, 12)])[None]

    with torch.no_grad():
        tree = model(
            torch.cat([prefix, left, right], dim=1),
            attention_mask=tree_mask(until, torch.float32),
            position_ids=positions,
        ).logits
        alone = model(torch.cat([prefix, right], dim=1)).logits

    assert_near(tree[:, 13:], alone[:, 7:], depth(model, 18))


def test_a_checkpoint_holds_the_whole_model_and_loads_by_its_own_name(tmp_path: Path) -> None:
    model = tiny_model(router_bias=True)
    model.model.layers[1].mlp.router.bias.normal_()
    checkpoint = Checkpoint.write(tmp_path / "c", model=model, tokenizer=small_tokenizer())

    loaded = checkpoint.model(dtype=torch.float32)

    assert isinstance(loaded, MunroForCausalLM)
    assert AutoConfig.from_pretrained(checkpoint.path).shape == model.config.shape
    assert loaded.lm_head.weight is loaded.model.embed_tokens.weight
    state = loaded.state_dict()
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    with torch.no_grad():
        assert torch.equal(loaded(tokens(2, 9)).logits, model(tokens(2, 9)).logits)


def test_in_half_precision_residual_stream_norms_router_and_logits_stay_whole(
    tmp_path: Path,
) -> None:
    model = tiny_model()
    model.save_pretrained(tmp_path)

    half = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16).eval()
    whole = {name for name, value in half.named_parameters() if value.dtype == torch.float32}
    with torch.no_grad():
        told = half.model(tokens(1, 9))
        difference = half(tokens(1, 9)).logits - model(tokens(1, 9)).logits

    assert all(
        ("norm" in name or "embed" in name or "router" in name) == (name in whole)
        for name, _ in half.named_parameters()
    )
    assert told.last_hidden_state.dtype == torch.float32
    assert 0 < difference.abs().max() < 0.5


def test_attention_starts_silent_and_outputs_into_the_residual_start_small() -> None:
    torch.manual_seed(0)
    model = MunroForCausalLM(tiny_config(12, sizes={"hidden_size": 128}))
    first, second = model.model.layers[0], model.model.layers[1]

    assert (first.attention_out_norm.weight == 0).all()
    assert (first.mlp_out_norm.weight == 1).all()
    small = 0.02 / 24**0.5
    for weight, std in (
        (first.mlp.gate_up_proj.weight, 0.02),
        (first.mlp.down_proj.weight, small),
        (first.self_attn.o_proj.weight, small),
        (second.mlp.latent_up.weight, small),
        (second.mlp.latent_down.weight, 0.02),
        (second.mlp.experts.down_proj, 0.02),
        (second.mlp.router.weight, 0.02),
        (model.model.embed_tokens.weight, 0.02),
    ):
        assert weight.std().item() == pytest.approx(std, rel=0.1)
    with torch.no_grad():
        change = changed(model.eval(), at=2, length=12)
        assert change[2] > 1e-3
        assert change[3:].max() < ROUNDING


def test_dropout_falls_on_sub_layers_while_training_alone() -> None:
    model = tiny_model(dropout=0.5)
    ids = tokens(2, 8)
    with torch.no_grad():
        assert torch.equal(model(ids).logits, model(ids).logits)
        model.train()
        assert not torch.equal(model(ids).logits, model(ids).logits)


@pytest.mark.filterwarnings("ignore:.*use_cache.*")
def test_recomputing_activations_changes_neither_loss_nor_gradient() -> None:
    model = tiny_model().train()
    ids = tokens(2, 10)

    def gradients() -> list[torch.Tensor]:
        model.zero_grad()
        loss = model(ids, labels=ids).loss
        loss.backward()
        return [loss.detach(), *(parameter.grad.clone() for parameter in model.parameters())]

    plain = gradients()
    model.gradient_checkpointing_enable()

    assert all(torch.equal(a, b) for a, b in zip(plain, gradients(), strict=True))


def test_the_trainer_tells_attention_embedding_norms_and_experts_apart() -> None:
    groups = {g["name"]: g["params"] for g in parameter_groups(tiny_model(), OptimizerConfig())}
    model = tiny_model()

    assert len(groups["embedding"]) == 1
    assert len(groups["attention"]) == 2 * 6
    assert len(groups["norm"]) == 6 * 6 + 1
    assert sum(map(len, groups.values())) == len(list(model.parameters()))
