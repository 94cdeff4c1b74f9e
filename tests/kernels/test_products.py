"""oneDNN's products equal torch's own, whatever the matrices are; a rule says who makes them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from munro.kernels import dispatch, products
from munro.kernels.products import onednn, rule

LARGE = (192, 256, 320)
"""[m, k] x [k, n] that is worth a call."""


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, ...]]]:
    """Shapes that oneDNN multiplies while a test runs, whatever this processor is."""
    shapes: list[tuple[int, ...]] = []
    theirs = onednn.product

    def product(left: Tensor, right: Tensor, bias: Tensor | None = None) -> Tensor:
        shapes.append((*left.shape, right.shape[1]))
        return theirs(left, right, bias)

    monkeypatch.setattr(onednn, "product", product)
    onednn.install()
    yield shapes
    if products.decision().twin == "reference":
        onednn.uninstall()


def near(found: Tensor, left: Tensor, right: Tensor, added: Tensor | float = 0.0) -> None:
    """Within the rounding of float32 sums."""
    exact = left.double() @ right.double() + (
        added.double() if isinstance(added, Tensor) else added
    )
    size = left.double().abs() @ right.double().abs() + 1
    assert found.shape == exact.shape
    assert bool(((found.double() - exact).abs() <= 2e-6 * size).all())


def lain(matrix: Tensor, how: str) -> Tensor:
    """The same numbers, lying otherwise in memory."""
    rows, columns = matrix.shape
    if how == "columns":
        return matrix.T.contiguous().T
    if how == "inside":
        return torch.full((rows + 3, columns + 5), torch.nan)[1 : rows + 1, 2 : columns + 2].copy_(
            matrix
        )
    if how == "apart":
        return torch.full((rows, columns, 2), torch.nan)[..., 1].copy_(matrix)
    return matrix


@pytest.mark.parametrize("right_lies", ["rows", "columns", "inside", "apart"])
@pytest.mark.parametrize("left_lies", ["rows", "columns", "inside", "apart"])
def test_however_matrices_lie(made, left_lies, right_lies):
    left = lain(torch.randn(192, 256), left_lies)
    right = lain(torch.randn(256, 320), right_lies)
    near(torch.mm(left, right), left, right)
    near(torch.addmm(torch.ones(320), left, right), left, right, 1.0)
    assert made == [LARGE] * 2


@pytest.mark.parametrize("shape", [(16, 1024, 512), (511, 129, 131), (4096, 64, 33)])
def test_whatever_their_shape(made, shape):
    m, k, n = shape
    left, right = torch.randn(m, k), torch.randn(k, n)
    near(left @ right, left, right)
    near(left.T @ (left @ right), left.T, left @ right)
    assert made[0] == shape


def test_repeated_rows_and_columns(made):
    left, right = torch.randn(1, 256).expand(192, 256), torch.randn(256, 1).expand(256, 320)
    near(left @ right, left, right)
    over = torch.randn(600).as_strided((256, 320), (1, 1))
    near(left @ over, left, over)
    assert made == [LARGE] * 2


@pytest.mark.parametrize("shape", [(0, 8, 8), (8, 0, 8), (8, 8, 0), (1, 4096, 4096), (64, 64, 64)])
def test_small_ones_stay_with_torch(made, shape):
    m, k, n = shape
    left, right = torch.randn(m, k), torch.randn(k, n)
    near(left @ right, left, right)
    assert not made


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.int64])
def test_other_types_stay_with_torch(made, dtype):
    left, right = (torch.ones(size, dtype=dtype) for size in ((192, 256), (256, 320)))
    assert torch.equal(left @ right, torch.full((192, 320), 256, dtype=dtype))
    assert not made


def test_results_that_are_given_a_place(made):
    left, right = torch.randn(192, 256), torch.randn(256, 320)
    place = torch.full((192, 640), torch.nan)[:, ::2]
    assert torch.mm(left, right, out=place) is place
    near(place, left, right)
    place.copy_(torch.ones(192, 320)).addmm_(left, right)
    near(place, left, right, 1.0)
    empty = torch.empty(0)
    torch.mm(left, right, out=empty)  # torch resizes it
    near(empty, left, right)
    assert made == [LARGE] * 2


def test_more_than_a_sum_stays_with_torch(made):
    left, right, added = torch.randn(192, 256), torch.randn(256, 320), torch.randn(320)
    near(
        torch.addmm(added, left, right, beta=2, alpha=3),
        3 * left,
        right,
        2 * added.expand(192, 320),
    )
    nothing = torch.full((192, 320), torch.nan)
    near(torch.addmm(nothing, left, right, beta=0), left, right)
    assert not made
    near(torch.addmm(added.expand(192, 320), left, right), left, right, added.expand(192, 320))
    near(torch.addmm(added[:1], left, right), left, right, added[:1].expand(192, 320))
    assert made == [LARGE]


def test_what_does_not_fit_is_refused_as_torch_does(made):
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        torch.randn(192, 256) @ torch.randn(255, 320)
    with pytest.raises(RuntimeError):
        torch.randn(5).addmm_(torch.randn(192, 256), torch.randn(256, 320))
    with pytest.raises(RuntimeError, match="same dtype"):
        torch.randn(192, 256) @ torch.randn(256, 320).double()
    assert not made


def test_a_layer_s_gradients(made):
    layer = torch.nn.Linear(256, 320)
    x = torch.randn(2, 96, 256, requires_grad=True)
    weight = torch.randn(2, 96, 320)

    loss = (checkpoint(lambda a: layer(a) * weight, x, use_reentrant=False)).sum()
    ours = torch.autograd.grad(loss, [x, layer.weight])
    # forward twice, for it is checkpointed, then two products of the backward pass
    assert sorted(made) == sorted([LARGE, LARGE, (192, 320, 256), (320, 192, 256)])
    flat = weight.view(192, 320)
    near(ours[0].view(192, 256), flat, layer.weight)
    near(ours[1], flat.T, x.view(192, 256))


def test_autocast_multiplies_in_its_own_precision(made):
    x, w = torch.randn(192, 256), torch.randn(320, 256)
    with torch.autocast("cpu", torch.bfloat16):
        assert F.linear(x, w).dtype == torch.bfloat16
    assert not made


def test_the_same_bits_each_time_and_wherever_they_lie(made):
    left, right = torch.randn(1000, 192), torch.randn(192, 576)
    first = left @ right
    for offset in range(1, 20, 3):
        moved = torch.empty(192 * 576 + 32)[offset : offset + 192 * 576].view(192, 576)
        assert torch.equal(left @ moved.copy_(right), first)
    assert len(made) == 8


def test_a_new_thread_has_no_more_threads_than_the_process_is_to_take(made):
    before = torch.get_num_threads()
    square = torch.randn(512, 512)
    counts: list[int] = []

    def count() -> None:
        tasks = Path("/proc/self/task")
        alive = len(list(tasks.iterdir()))
        square @ square
        counts.append(len(list(tasks.iterdir())) - alive)

    torch.set_num_threads(1)
    try:
        thread = threading.Thread(target=count)
        thread.start()
        thread.join()
    finally:
        torch.set_num_threads(before)
    assert counts == [0]


def test_nan_and_infinity_come_through(made):
    left, right = torch.ones(192, 256), torch.ones(256, 320)
    left[3, 4], left[5, 6] = torch.nan, torch.inf
    found = left @ right
    assert found[3].isnan().all()
    assert found[5].isinf().all()
    assert torch.equal(found[[0, 191]], torch.full((2, 320), 256.0))


@pytest.mark.parametrize(
    ("maker", "capability", "twin"),
    [
        ("AuthenticAMD", "AVX512", "plain"),
        ("AuthenticAMD", "AVX2", "reference"),
        ("GenuineIntel", "AVX512", "reference"),
        ("", "AVX512", "reference"),
    ],
)
def test_the_rule_goes_by_the_processor(monkeypatch, tmp_path, maker, capability, twin):
    monkeypatch.delenv(dispatch.VARIABLE, raising=False)
    told = tmp_path / "cpuinfo"
    told.write_text(f"processor\t: 0\nvendor_id\t: {maker}\n" if maker else "CPU part : 0xd40\n")
    monkeypatch.setattr(rule, "CPUINFO", told)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    rule.vendor.cache_clear()
    try:
        assert rule.decision.__wrapped__().twin == twin
        monkeypatch.setenv(dispatch.VARIABLE, "reference")
        assert rule.decision.__wrapped__().why == "MUNRO_KERNELS=reference"
        monkeypatch.setenv(dispatch.VARIABLE, "mkl")
        with pytest.raises(dispatch.NoSuchTwin, match="MUNRO_KERNELS=mkl names no twin"):
            rule.decision.__wrapped__()
    finally:
        rule.vendor.cache_clear()


TELL = """
import torch
from munro.kernels import vector_math
from munro.kernels.products import onednn
torch.manual_seed(0)
left, right = torch.randn(300, 400), torch.randn(400, 500)
own = left @ right
vector_math.settle()
vector_math.settle()
print(bool(onednn._installed), torch.equal(left @ right, own))
"""


@pytest.mark.parametrize("asked", ["", "reference"])
def test_a_process_with_and_one_without(asked):
    told = subprocess.run(
        [sys.executable, "-W", "error", "-c", TELL],
        capture_output=True,
        text=True,
        env={**os.environ, dispatch.VARIABLE: asked},
    )
    installed = not asked and products.decision().twin == "plain"
    assert told.stdout.split()[0] == str(installed), told.stderr
    assert installed or told.stdout.split()[1] == "True"


def test_it_is_told_what_was_chosen():
    assert products.decision() in dispatch.report()
