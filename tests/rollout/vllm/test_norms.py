"""vLLM's compiled norms against its native ones, and where they are not taken."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

pytestmark = [
    pytest.mark.vllm,
    # vLLM's and its dependencies' own, met while they are imported
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

NEAR = {torch.float32: 1e-6, torch.bfloat16: 2**-7}  # of a number: its last bit, or two roundings


@pytest.fixture
def ops() -> Iterator[Any]:
    """vLLM's operations, with the kernels taken."""
    from vllm import ir
    from vllm.platforms import current_platform

    from munro.rollout.vllm import norms

    if not current_platform.is_cpu():
        pytest.skip("this vLLM is for another device")
    before = {name: getattr(ir.ops, name)._priority_impls for name in norms.KERNELS}
    norms.use_kernels()
    norms.use_kernels()
    yield ir.ops
    for name, impls in before.items():
        getattr(ir.ops, name)._priority_impls = impls


def given(*shape: int, dtype: torch.dtype) -> torch.Tensor:
    torch.manual_seed(sum(shape))
    return torch.randn(*shape, dtype=dtype)


@pytest.mark.parametrize("dtype", NEAR, ids=str)
@pytest.mark.parametrize("shape", [(1, 8), (5, 576), (130, 64), (3, 4, 16)])
def test_a_norm_is_what_it_was(ops, shape, dtype, monkeypatch):
    x, weight = given(*shape, dtype=dtype), given(shape[-1], dtype=dtype)
    native = ops.rms_norm.impls["native"].impl_fn(x, weight, 1e-5)
    went = []
    kernel = torch.ops._C.rms_norm
    monkeypatch.setattr(torch.ops._C, "rms_norm", lambda *given: went.append(1) or kernel(*given))
    got = ops.rms_norm(x, weight, 1e-5)
    assert went
    assert got.dtype is dtype
    assert ((got - native).abs() <= NEAR[dtype] * native.abs().clamp(min=1)).all()


@pytest.mark.parametrize("dtype", NEAR, ids=str)
def test_a_norm_after_a_sum_changes_both_in_place(ops, dtype):
    x, residual, weight = (given(*shape, dtype=dtype) for shape in ((7, 64), (7, 64), (64,)))
    op = ops.fused_add_rms_norm
    normed, total = op.impls["native"].impl_fn(x, residual, weight, 1e-5)
    got, carried = op.maybe_inplace(x, residual, weight, 1e-5)
    assert carried.data_ptr() == residual.data_ptr()
    assert torch.equal(carried, total)
    assert ((got - normed).abs() <= NEAR[dtype] * normed.abs().clamp(min=1)).all()


def test_what_the_kernels_do_not_compute_stays_native(ops):
    from munro.rollout.vllm import norms

    x, weight = given(6, 3, 16, dtype=torch.float32), given(16, dtype=torch.float32)
    assert norms.suits(x, weight, 1e-5)
    assert not norms.suits(x[:, :2], weight, 1e-5)  # heads cut out of a product of all three
    assert not norms.suits(x, None, 1e-5)
    assert not norms.suits(x, weight.double(), 1e-5)
    assert not norms.suits(x, weight, 1e-5, 8)
    for odd in (x[:, :2], x):
        own = weight if odd is not x else None
        native = ops.rms_norm.impls["native"].impl_fn(odd, own, 1e-5)
        assert torch.equal(ops.rms_norm(odd, own, 1e-5), native)
