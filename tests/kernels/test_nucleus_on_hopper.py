"""The kernels over nuclei, compiled for an H100 where there is none."""

from __future__ import annotations

import pytest

pytest.importorskip("triton", reason="no Triton for this platform")

import triton.language as tl

from munro.kernels.nucleus_logprob import fused
from tests.kernels.hopper import Compiled, assert_fits, assert_repeats, compiled

WIDTHS = (13, 576, 1024, 8192)
INDICES = (*("owner", "starts", "into", "ids", "order", "id_starts", "id_into"),)
COMMON = {
    **dict.fromkeys(INDICES, "*i32"),
    "token": "*i64",
    **dict.fromkeys(("logit", "norm", "logp", "grad", "partial", "id_partial"), "*fp32"),
    **dict.fromkeys(("temperature", "softcap"), "fp32"),
    **dict.fromkeys(("num_ids", "grad_stride"), "i32"),
}


def strides(width: int, *names: str) -> dict[str, str]:
    return dict.fromkeys(names, "i32" if width % 16 else "i32:16")


def tiles(width: int) -> dict[str, int]:
    chosen = fused.tiling(width)
    return {"ROWS": chosen.rows, "COLUMNS": chosen.columns}


def scores(width: int, hidden: str, weight: str, *, softcap: bool) -> Compiled:
    more = {"hidden": hidden, "weight": weight}
    more |= strides(width, "hidden_stride", "weight_stride")
    sizes = {"D": width, "SOFTCAP": softcap, "OPERAND": tl.bfloat16, **tiles(width)}
    return compiled(
        fused._scores, COMMON | more, sizes, num_warps=fused.tiling(width).warps, **fused.LAUNCH
    )


def gradients(width: int, hidden: str, weight: str, *, softcap: bool) -> Compiled:
    more = {"hidden": hidden, "weight": weight, "out": hidden, "id_out": "*fp32"}
    more |= strides(width, "hidden_stride", "weight_stride", "id_stride", "out_stride")
    sizes = {"D": width, "SOFTCAP": softcap, "OPERAND": tl.bfloat16, **tiles(width)}
    return compiled(
        fused._gradients, COMMON | more, sizes, num_warps=fused.tiling(width).warps, **fused.LAUNCH
    )


def assert_in_order(kernel: Compiled, width: int) -> None:
    assert_fits(kernel)
    assert_repeats(kernel)
    # rows are read 16 bytes at a time where their width allows
    assert ("ld.global.v4" in kernel.ptx) == (width % 16 == 0)


@pytest.mark.parametrize("make", [scores, gradients])
@pytest.mark.parametrize("width", WIDTHS)
def test_kernels_over_candidates_fit_and_have_no_atomics(width, make):
    assert_in_order(make(width, "*bf16", "*fp32", softcap=True), width)
    assert_in_order(make(width, "*bf16", "*bf16", softcap=False), width)


def test_the_small_ones_fit_too():
    for kernel, sizes in (
        (fused._join_scores, {"BLOCK": fused.BLOCK}),
        (fused._join_rows, {"D": 1024, "ADDS": True, **tiles(1024)}),
    ):
        more = {"out": "*fp32", **strides(1024, "out_stride")}
        made = compiled(kernel, COMMON | more, sizes, num_warps=4, **fused.LAUNCH)
        assert_fits(made)
        assert_repeats(made)
