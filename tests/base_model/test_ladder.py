"""Sizes from one knob, against the report's Table 1."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from munro.base_model.ladder import ModelShape, ShapeError

MAI_BASE_1 = {"latent_size": 3072, "expert_width": 5120}

# layers, overrides; as printed: active, total (in units of 1e6 or 1e9), D, fused dense, latent,
# fused expert, query heads
TABLE = [
    (12, {}, "365M", "3.9B", 1024, 2048, 512, 1536, 16),
    (18, {}, "760M", "13B", 1536, 3072, 768, 2304, 16),
    (24, {}, "1.5B", "30B", 2048, 4096, 1024, 3072, 24),
    (30, {}, "2.6B", "58B", 2560, 5120, 1280, 3840, 32),
    (36, {}, "4.0B", "100B", 3072, 6144, 1536, 4608, 32),
    (42, {}, "6.1B", "159B", 3584, 7168, 1792, 5376, 40),
    (66, {}, "21.7B", "615B", 5632, 11264, 2816, 8448, 64),
    (78, {}, "35.6B", "1015B", 6656, 13312, 3328, 9984, 80),
    (78, MAI_BASE_1, "34.7B", "962B", 6656, 13312, 3072, 10240, 80),
]


def printed(count: int, like: str) -> str:
    """`count` written with the unit and the decimals of `like`."""
    unit = {"M": 1e6, "B": 1e9}[like[-1]]
    decimals = len(like[:-1].partition(".")[2])
    return f"{count / unit:.{decimals}f}{like[-1]}"


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"L{row[0]}-{row[3]}")
def test_every_row_of_the_report_s_table_follows_from_the_depth(row: tuple) -> None:
    layers, overrides, active, total, hidden, dense, latent, expert, heads = row

    shape = ModelShape.rung(layers, **overrides)

    assert printed(shape.num_params(active=True), active) == active
    assert printed(shape.num_params(), total) == total
    assert (shape.hidden_size, 2 * shape.dense_width) == (hidden, dense)
    assert (shape.latent_size, 2 * shape.expert_width) == (latent, expert)
    assert (shape.num_kv_heads, shape.num_heads, shape.head_dim) == (8, heads, 128)
    assert (shape.top_k, shape.num_experts, shape.vocab_size) == (8, 512, 200_019)


def test_the_last_layer_of_every_period_is_global_and_the_first_feed_forward_dense() -> None:
    shape = ModelShape.rung(12)

    assert [layer for layer in range(12) if shape.is_global[layer]] == [5, 11]
    assert shape.moe_layers == (1, 3, 5, 7, 9, 11)
    assert ModelShape.rung(6, moe_every=1).moe_layers == (0, 1, 2, 3, 4, 5)
    assert ModelShape.rung(6, moe_every=0, num_experts=0, top_k=0).moe_layers == ()


def test_a_rung_for_a_laptop_keeps_the_rules_at_its_own_width() -> None:
    tiny = ModelShape.rung(
        6, width_per_layer=32 / 3, num_kv_heads=2, head_dim=16, num_experts=8, top_k=2
    )

    assert (tiny.hidden_size, tiny.dense_width, tiny.latent_size) == (64, 64, 32)
    assert (tiny.expert_width, tiny.num_heads) == (48, 2)


def test_operations_are_six_a_parameter_and_attention_over_the_keys_a_token_sees() -> None:
    shape = ModelShape.rung(6, pattern="LG", window=2, moe_every=0, vocab_size=100)
    head_width = shape.num_heads * shape.head_dim
    norms = 6 * (4 * shape.hidden_size + 2 * shape.head_dim) + shape.hidden_size
    # in four tokens a local layer sees 1, 2, 2, 2 keys, a global one 1, 2, 3, 4
    keys = 3 * (7 / 4) + 3 * (10 / 4)

    expected = 6 * (shape.num_params() - norms) + 12 * head_width * keys

    assert shape.flops_per_token(4) == pytest.approx(expected)


def test_idle_experts_cost_parameters_but_only_the_router_s_operations() -> None:
    few, many = (ModelShape.rung(12, num_experts=number) for number in (64, 128))
    router = 6 * 64 * few.hidden_size

    assert many.num_params() > 1.5 * few.num_params()
    assert many.flops_per_token(64) - few.flops_per_token(64) == 6 * router


@pytest.mark.parametrize(
    ("layers", "overrides", "named"),
    [
        (10, {}, "num_layers = 10 is not a multiple of 6"),
        (0, {}, "num_layers = 0"),
        (12, {"num_heads": 12}, "num_heads = 12 is not a multiple of num_kv_heads = 8"),
        (12, {"num_experts": 4}, "num_experts = 4 is fewer than top_k = 8"),
        (12, {"pattern": "LLX"}, "pattern = 'LLX'"),
        (12, {"head_dim": 15}, "head_dim = 15 is odd"),
        (12, {"window": 0}, "window = 0"),
        (12, {"hidden_size": 1.5}, "hidden_size = 1.5"),
        (12, {"experts": 4}, "experts is no size of a model"),
    ],
)
def test_sizes_that_make_no_model_are_a_sentence(layers: int, overrides: dict, named: str) -> None:
    with pytest.raises(ShapeError, match=named):
        ModelShape.rung(layers, **overrides)


def test_another_pattern_allows_another_depth() -> None:
    assert ModelShape.rung(4, pattern="LG").is_global == (False, True, False, True)


def test_a_shape_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        ModelShape.rung(6).num_layers = 12
