"""The experts' kernels in an H100's machine code, compiled where there is none."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("triton", reason="no Triton for this platform")

import torch

from munro.kernels.experts import fused
from munro.kernels.experts.products import fused as products
from munro.kernels.experts.routing import fused as routing
from tests.kernels.hopper import assert_fits, assert_repeats, compiled

INTS = "*i32"


def grouped(kind: str, tile: products.Tile, *, gathers: bool) -> Any:
    numbers = dict.fromkeys(("num_experts", "V", "D", "stride_e", "stride_v"), "i32:16")
    pointers = dict.fromkeys(("order", "tile_ends", "sizes", "left_starts", "out_starts"), INTS)
    return compiled(
        products._grouped,
        {**dict.fromkeys(("left", "weight", "out"), kind), "each": "i32", **numbers, **pointers},
        {
            "stride_d": 1,
            "GATHERS": gathers,
            "EXPERTS": 512,
            "ROWS": tile.rows,
            "COLUMNS": tile.columns,
            "DEPTH": tile.depth,
            "WIDENS": False,
        },
        num_warps=tile.num_warps,
        num_stages=tile.num_stages,
    )


def outer(kind: str, tile: products.Tile, *, left: bool) -> Any:
    pointers = dict.fromkeys(
        ("left_order", "right_order", "sizes", "left_starts", "right_starts"), INTS
    )
    numbers = {"V": "i32:16", "W": "i32:16", "left_each": "i32", "right_each": "i32"}
    return compiled(
        products._outer,
        {"left": kind, "right": kind, "out": "*fp32", **pointers, **numbers},
        {
            "GATHERS_LEFT": left,
            "GATHERS_RIGHT": not left,
            "ADDS": not left,
            "ROWS": tile.rows,
            "COLUMNS": tile.columns,
            "DEPTH": tile.depth,
            "WIDENS": False,
        },
        num_warps=tile.num_warps,
        num_stages=tile.num_stages,
    )


@pytest.mark.parametrize("gathers", [True, False])
def test_grouped_products_are_the_tensor_cores(gathers):
    kernel = grouped("*bf16", products.GROUPED[torch.bfloat16], gathers=gathers)
    assert_fits(kernel, products=True)
    assert_repeats(kernel)


@pytest.mark.parametrize("left", [True, False])
def test_gradients_of_matrices_are_the_tensor_cores_and_have_one_order(left):
    kernel = outer("*bf16", products.OUTER[torch.bfloat16], left=left)
    assert_fits(kernel, products=True)
    assert_repeats(kernel)


@pytest.mark.slow
def test_products_of_float32_fit_too():
    tile, other = products.GROUPED[torch.float32], products.OUTER[torch.float32]
    for kernel in (
        grouped("*fp32", tile, gathers=True),
        outer("*fp32", other, left=True),
    ):
        assert_fits(kernel, products=False)


OTHERS = {
    "zero": (
        products._zero,
        {"out": "*bf16", "sizes": INTS, "size": "i32:16"},
        {"BLOCK": products.ZEROED},
    ),
    "top k of 512": (
        routing._top_k,
        {"logits": "*fp32", "ids": "*i64", "num_rows": "i32", "num_experts": "i32:16"},
        {"K": 8, "ROWS": routing.SCORES // 512, "WIDTH": 512},
    ),
    "count": (
        routing._count,
        {"ids": "*i64", "counts": INTS, "num_ids": "i32", "num_experts": "i32"},
        {"BLOCK": routing.BLOCK, "CHUNK": routing.CHUNK},
    ),
    "before": (
        routing._before,
        {"counts": INTS, "sizes": INTS, "num_blocks": "i32", "num_experts": "i32"},
        {"BLOCKS": routing.BLOCKS, "CHUNK": routing.CHUNK},
    ),
    "place": (
        routing._place,
        {
            "ids": "*i64",
            "num_ids": "i32",
            "num_experts": "i32",
            **dict.fromkeys(("before", "sizes", "ends", "order", "places"), INTS),
        },
        {"BLOCK": routing.BLOCK},
    ),
    "activate": (
        fused._activate,
        {"inner": "*bf16", "hidden": "*bf16", "num_rows": INTS, "width": "i32:16"},
        {"BLOCK": fused.BLOCK},
    ),
    "activate backward": (
        fused._activate_backward,
        {
            **dict.fromkeys(("inner", "hidden", "grad_inner"), "*bf16"),
            **dict.fromkeys(("gates", "grad_gates"), "*fp32"),
            "order": INTS,
            "rows": INTS,
            "width": "i32:16",
        },
        {"HAS_ROWS": True, "BLOCK": fused.BLOCK},
    ),
    "sum places": (
        fused._sum_places,
        {"rows": "*bf16", "places": INTS, "gates": "*fp32", "out": "*fp32", "width": "i32:16"},
        {"K": 8, "HAS_GATES": True, "BLOCK": 512},
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_the_other_kernels_fit_and_have_one_order(name):
    kernel = compiled(*OTHERS[name])
    assert_fits(kernel)
    assert_repeats(kernel)
