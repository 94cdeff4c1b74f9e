"""The look at compiled kernels sees what it is there to see."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("triton", reason="no Triton for this platform")

import triton
import triton.language as tl

from tests.kernels.hopper import SHARED_LIMIT, assert_fits, assert_repeats, compiled


@triton.jit
def multiply(left, right, out, SIZE: tl.constexpr, PRECISION: tl.constexpr):
    at = tl.arange(0, SIZE)[:, None] * SIZE + tl.arange(0, SIZE)[None, :]
    product = tl.dot(tl.load(left + at), tl.load(right + at), input_precision=PRECISION)
    tl.store(out + at, product)


@triton.jit
def centre(values, out, SIZE: tl.constexpr):
    at = tl.arange(0, SIZE)
    value = tl.load(values + at)
    tl.store(out + at, value - tl.sum(value) / SIZE)


@triton.jit
def add_up(values, sums, SIZE: tl.constexpr):
    at = tl.arange(0, SIZE)
    tl.atomic_add(sums + at % 7, tl.load(values + at))


def product_of(kind: str, size: int, precision: str):
    signature = {"left": kind, "right": kind, "out": "*fp32"}
    return compiled(multiply, signature, {"SIZE": size, "PRECISION": precision}, num_warps=4)


def test_a_product_of_bfloat16_is_the_tensor_cores_and_fits():
    kernel = product_of("*bf16", 64, "ieee")
    assert_fits(kernel, products=True)
    assert_repeats(kernel)
    assert kernel.registers > 0
    assert "HGMMA" in kernel.sass


def test_a_float32_product_without_tensor_cores_is_refused():
    with pytest.raises(AssertionError, match="0 products"):
        assert_fits(product_of("*fp32", 16, "ieee"), products=True)


def test_a_kernel_that_spills_is_refused():
    # 512 numbers for each of 32 threads to hold
    signature = {"values": "*fp32", "out": "*fp32"}
    with pytest.raises(AssertionError, match="spills"):
        assert_fits(compiled(centre, signature, {"SIZE": 1 << 14}, num_warps=1))


def test_a_block_without_the_room_for_its_operands_is_refused():
    kernel = replace(product_of("*bf16", 64, "ieee"), shared=SHARED_LIMIT + 1)
    with pytest.raises(AssertionError, match="shared memory"):
        assert_fits(kernel, products=True)


def test_atomics_are_refused():
    kernel = compiled(add_up, {"values": "*fp32", "sums": "*fp32"}, {"SIZE": 256})
    with pytest.raises(AssertionError, match="atomics"):
        assert_repeats(kernel)
