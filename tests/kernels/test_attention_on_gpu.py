"""On a GPU: FlexAttention and flash attention by lengths against the definition, and their cost."""

from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor

from munro.kernels.attention import Documents, RowMask, attend, reference
from munro.kernels.attention.attend import SHORT
from tests.kernels.trees import random_rows, shared_prompt

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
    # torch's own, while it compiles
    pytest.mark.filterwarnings("ignore"),
]
SCALE = 0.125
# the definition rounds scores and weights to bfloat16 as well: a few times 2^-8 of the largest
NEAR = {torch.float32: 5e-3, torch.bfloat16: 2e-2}


def given(rows: int, heads: int, groups: int, length: int, dtype: torch.dtype) -> list[Tensor]:
    torch.manual_seed(0)
    shapes = [(rows, heads), (rows, groups), (rows, groups), (rows, heads)]
    made = [torch.randn(*shape, length, 64, device="cuda").to(dtype) for shape in shapes]
    return [x.requires_grad_() for x in made[:3]] + made[3:]


def passed(mask: RowMask, tensors: list[Tensor], **how: object) -> list[Tensor]:
    """The result and the gradients."""
    *leaves, asked = tensors
    out = attend(*leaves, mask, scaling=SCALE, **how)
    extra = [x for x in how.values() if isinstance(x, Tensor)]
    return [out.detach(), *torch.autograd.grad(out, [*leaves, *extra], asked)]


def defined(mask: RowMask, tensors: list[Tensor], window: int = 0, **how: object) -> list[Tensor]:
    """The same by the definition, in float32, a row at a time."""
    *leaves, asked = [x.detach().float() for x in tensors]
    leaves = [x.requires_grad_() for x in leaves]
    seen = reference.visible(mask.until_RL, mask.position_RL, window)[:, None]
    out = reference.dense(*leaves, seen, scaling=SCALE, **how)
    extra = [x for x in how.values() if isinstance(x, Tensor)]
    return [out.detach(), *torch.autograd.grad(out, [*leaves, *extra], asked)]


def assert_near(got: list[Tensor], expected: list[Tensor], near: float) -> None:
    for one, other in zip(got, expected, strict=True):
        error = (one.float() - other.float()).norm() / other.float().norm()
        assert float(error) < near


@pytest.mark.parametrize(
    ("rows", "heads", "groups", "length", "window", "dtype"),
    # one head count and one row a kind in the fast ones: each other is compiled anew
    [
        (1, 6, 2, 1500, 0, torch.bfloat16),
        (1, 6, 2, 1025, 0, torch.bfloat16),
        (1, 6, 2, 1501, 100, torch.bfloat16),
        pytest.param(2, 6, 2, 1500, 100, torch.bfloat16, marks=pytest.mark.slow),
        pytest.param(1, 9, 3, 2048, 0, torch.float32, marks=pytest.mark.slow),
    ],
)
def test_flex_is_the_definition_and_repeats(rows, heads, groups, length, window, dtype):
    until, position = random_rows(random.Random(length), rows, length)
    mask = RowMask(until.cuda(), position.cuda(), windows=(0, window))
    tensors = given(rows, heads, groups, length, dtype)
    got, again = (passed(mask, tensors, window=window) for _ in range(2))
    assert_near(got, defined(mask, tensors, window), NEAR[dtype])
    assert all(torch.equal(one, other) for one, other in zip(got, again, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("how", ["softcap", "sinks"])
def test_soft_caps_and_sinks(how):
    length = 1500
    until, position = random_rows(random.Random(length), 1, length)
    mask = RowMask(until.cuda(), position.cuda(), windows=(0,))
    tensors = given(1, 6, 2, length, torch.bfloat16)
    sinks = torch.randn(6, device="cuda", requires_grad=True)
    more = {"softcap": 3.0} if how == "softcap" else {"sinks": sinks}
    assert_near(passed(mask, tensors, **more), defined(mask, tensors, **more), 2e-2)


@pytest.mark.parametrize("window", [0, 200])
def test_documents_by_lengths(window):
    lengths = [1, 700, 129, 400, 66]
    starts = torch.tensor([0, *lengths]).cumsum(0).to(torch.int32)
    until = starts[1:].repeat_interleave(torch.tensor(lengths))[None].to(torch.int32)
    position = torch.cat([torch.arange(length) for length in lengths])[None].to(torch.int32)
    documents = Documents(starts=starts.cuda(), longest=max(lengths))
    mask = RowMask(until.cuda(), position.cuda(), documents=documents, windows=(0, window))
    tensors = given(1, 6, 2, sum(lengths), torch.bfloat16)
    got = passed(mask, tensors, window=window)
    assert_near(got, defined(mask, tensors, window), 2e-2)


def test_autocast_decides_the_type():
    until, position = random_rows(random.Random(1), 1, SHORT + 200)
    mask = RowMask(until.cuda(), position.cuda(), windows=(0,))
    tensors = given(1, 6, 2, SHORT + 200, torch.float32)
    with torch.autocast("cuda", torch.bfloat16):
        out = attend(*tensors[:3], mask, scaling=SCALE)
    assert out.dtype == torch.bfloat16
    grads = torch.autograd.grad(out, tensors[:3], tensors[3].to(out.dtype))
    assert all(grad.dtype == torch.float32 for grad in grads)


@pytest.mark.parametrize("window", [0, 512], ids=["tree", "window at 16k"])
def test_nothing_of_the_size_of_all_pairs_is_made(window):
    until, position = shared_prompt(2048, 12, 512) if not window else shared_prompt(16384, 0, 0)
    length = until.shape[1]
    tensors = given(1, 6, 2, length, torch.bfloat16)
    until, position = until.cuda(), position.cuda()
    passed(RowMask(until, position, windows=(window,)), tensors, window=window)  # compiled
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    got = passed(RowMask(until, position, windows=(window,)), tensors, window=window)
    outputs = sum(x.numel() * x.element_size() for x in got)
    beside = torch.cuda.max_memory_allocated() - before - outputs
    assert beside < 64 << 20, f"{beside / 2**20:.0f} MiB beside the outputs"


def test_no_pass_waits_for_the_device():
    until, position = shared_prompt(1024, 4, 256)
    until, position = until.cuda(), position.cuda()
    tensors = given(1, 6, 2, until.shape[1], torch.bfloat16)
    passed(RowMask(until, position, windows=(0, 100)), tensors, window=100)  # compiled
    torch.cuda.set_sync_debug_mode("error")
    try:
        passed(RowMask(until, position, windows=(0, 100)), tensors, window=100)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_many_lengths_are_one_graph():
    found = []
    for length in (1100, 1300, 1555, 1811):
        until, position = random_rows(random.Random(length), 1, length)
        mask = RowMask(until.cuda(), position.cuda(), windows=(0,))
        passed(mask, given(1, 6, 2, length, torch.bfloat16))
        found.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])
    assert found[1:] == found[:1] * 3
