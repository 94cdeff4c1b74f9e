"""The head's kernels for GPUs: by Triton's interpreter, compiled for an H100, and on a card."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.kernels.hopper import assert_fits, assert_repeats, compiled

pytest.importorskip("triton")

from munro.kernels.linear_logprob.gemm.fused import ROOMY, Shape, gather_blocks, join, slope_blocks
from munro.kernels.linear_logprob.rows.fused import gather_rows, mark_rows, slope_rows, warps_of

ROW = {
    "raw": "*fp32", "stride": "i32:16", "marks": "*i8", "token": "*i64", "starts": "*i64",
    "first": "i32", "width": "i32:16", "temperature": "fp32", "softcap": "fp32",
}  # fmt: skip
STATE = dict.fromkeys(("top", "total", "dot", "chosen"), "*fp32")
KNOWN = dict.fromkeys(("norm", "entropy", "grad", "slant"), "*fp32")
BLOCK = 8192
CASES = [(False, False, False), (True, True, True), (False, True, False), (True, False, True)]
"""With a soft cap, with entropy, with a nucleus: each pair of two."""


@pytest.mark.parametrize(("softcap", "entropy", "masked"), CASES)
def test_the_row_pass_of_the_forward_pass_fits_an_h100(softcap, entropy, masked):
    flags = {"SOFTCAP": softcap, "ENTROPY": entropy, "MASKED": masked, "BLOCK": BLOCK}
    made = compiled(gather_rows, ROW | STATE, flags, num_warps=warps_of(BLOCK))
    assert_fits(made)
    assert_repeats(made)


@pytest.mark.parametrize(("softcap", "entropy", "masked"), CASES)
@pytest.mark.parametrize("operand", ["bf16", "fp32", "split"])
def test_the_row_pass_of_the_backward_pass_fits_an_h100(operand, softcap, entropy, masked):
    split = operand == "split"
    kind = "*bf16" if split else f"*{operand}"
    out = {"large": kind, "small": kind, "out_stride": "i32:16"}
    flags = {"SOFTCAP": softcap, "ENTROPY": entropy, "MASKED": masked, "BLOCK": BLOCK}
    made = compiled(
        slope_rows,
        ROW | KNOWN | out,
        flags | {"SPLIT": split},
        num_warps=warps_of(BLOCK),
    )
    assert_fits(made)
    assert_repeats(made)


def test_marking_what_may_be_sampled_fits_an_h100():
    types = {
        "ids": "*i64", "starts": "*i64", "marks": "*i8", "stride": "i32:16", "first": "i32",
        "width": "i32:16",
    }  # fmt: skip
    made = compiled(mark_rows, types, {"BLOCK": BLOCK}, num_warps=warps_of(BLOCK))
    assert_fits(made)
    assert_repeats(made)


PRODUCT = {
    "hidden": "*bf16", "weight": "*bf16", "hidden_stride": "i32:16", "weight_stride": "i32:16",
    "height": "i32", "width": "i32:16", "inner": "i32:16", "token": "*i64", "first": "i32",
    "temperature": "fp32", "softcap": "fp32",
}  # fmt: skip
FOUND = dict.fromkeys(("tops", "totals", "dots"), "*fp32") | {"stride": "i32:16"}


def in_blocks(shape: Shape, *, softcap: bool, entropy: bool) -> dict[str, object]:
    sizes = {"ROWS": shape.rows, "COLUMNS": shape.columns, "INNER": shape.inner}
    return {"SOFTCAP": softcap, "ENTROPY": entropy, "GROUP": shape.group, **sizes}


WAITING = 64
"""Bytes of a thread's stack that a few numbers may wait in while the product is made, once a
program: on a card a block of 256 columns is faster with them than one of 128 without."""


@pytest.mark.parametrize("softcap", [False, True])
@pytest.mark.parametrize("entropy", [False, True])
def test_our_own_product_multiplies_in_tensor_cores_and_fits_an_h100(softcap, entropy):
    shape = ROOMY if softcap else Shape()
    sizes = in_blocks(shape, softcap=softcap, entropy=entropy)
    for kernel, types in (
        (gather_blocks, PRODUCT | FOUND | {"chosen": "*fp32"}),
        (slope_blocks, PRODUCT | KNOWN | {"out": "*bf16", "out_stride": "i32:16"}),
    ):
        made = compiled(kernel, types, sizes, num_warps=shape.warps, num_stages=shape.stages)
        assert made.stack <= WAITING
        assert_fits(replace(made, stack=0), products=True)
        assert_repeats(made)


def test_joining_blocks_fits_an_h100():
    types = STATE | FOUND | {"num_blocks": "i32", "first": "i32", "height": "i32"}
    made = compiled(join, types, {"ENTROPY": True, "BLOCK": 128})
    assert_fits(made)
    assert_repeats(made)


INTERPRETED = """
import torch
from munro.kernels import dispatch
from munro.kernels.linear_logprob import fused
from munro.kernels.scale import Scale
from tests.kernels.test_linear_logprob import nuclei, outcome, problem

ROWS = fused.Tiling(rows=4, columns=77, deep=7)
SMALL = fused.Shape(rows=16, columns=32, inner=16)
GEMM = fused.Tiling(way="gemm", columns=77, deep=7, program=SMALL)
fused.TILING = ROWS
WIDE = [90, 0, 60, 1, 3, 0, 100, 2]
CAPPED = Scale(temperature=0.7, softcap=3.0)


def compare(T, dtype, scale, entropy, kept, precision, tolerance):
    hidden, weight, token = problem(T, 100, dtype=dtype)
    kept = nuclei(WIDE, token, 100) if kept else None
    found = []
    for name in ("plain", "fused", "fused"):
        dispatch.decided.cache_clear()
        dispatch.os.environ[dispatch.VARIABLE] = name
        weight.grad = None
        found.append(
            outcome(
                hidden, weight, token, scale=scale, entropy=entropy, kept=kept, precision=precision
            )
        )
    for plain, ours, again in zip(*found, strict=True):
        assert ours.dtype == plain.dtype and ours.shape == plain.shape
        assert torch.equal(ours, again)
        assert (ours - plain).norm() <= tolerance * plain.norm().clamp(min=1e-3)


for scale, entropy, kept in [
    (Scale(), False, False), (Scale(temperature=0.6), True, False), (CAPPED, False, True),
    (CAPPED, True, True), (Scale(), True, True),
]:
    compare(8, torch.float32, scale, entropy, kept, "operand", 1e-5)
# the interpreter rounds to bfloat16 towards zero: 2^-8 of each derivative
compare(8, torch.bfloat16, Scale(), True, False, "operand", 8e-3)
compare(8, torch.float32, Scale(), True, True, "bf16", 8e-3)
fused.TILING = GEMM
compare(8, torch.bfloat16, Scale(), True, False, "operand", 8e-3)
compare(8, torch.bfloat16, CAPPED, False, False, "operand", 8e-3)
compare(8, torch.bfloat16, Scale(), True, True, "operand", 8e-3)
fused.TILING = ROWS
compare(1, torch.float32, Scale(), True, False, "operand", 1e-5)
compare(0, torch.float32, Scale(), True, False, "operand", 1e-5)
"""


def test_row_passes_give_what_tiles_give_when_interpreted():
    root = Path(__file__).parents[2]
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", INTERPRETED],
        cwd=root,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
