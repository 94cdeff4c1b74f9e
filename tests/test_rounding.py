"""Bounds of rounding are wide enough for any order of a sum, and too narrow for a fault."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.cpus import LIMITS, ORDER, QUICK, THREADS, capabilities, environment
from tests.numeric import ROOT, is_numeric
from tests.rounding import assert_near, bound, largest, near


@pytest.mark.parametrize("terms", [10, 1000, 100_000])
def test_a_float32_sum_in_whatever_order_is_within_the_bound_of_the_exact_one(terms: int) -> None:
    rng = np.random.default_rng(terms)
    values = rng.standard_normal(terms).astype(np.float32)
    exact = float(values.sum(dtype=np.float64))
    # partial sums, which round, are as large as sqrt(terms)
    scale = max(1.0, float(np.abs(values.astype(np.float64).cumsum()).max()))
    for _ in range(20):
        one_by_one = rng.permutation(values).cumsum(dtype=np.float32)[-1]
        assert float(one_by_one) == near(exact, terms, scale=scale)


def test_a_value_that_is_missing_from_the_sum_is_seen() -> None:
    values = np.full(1000, 0.5, np.float32)
    assert float(values[1:].sum()) != near(float(values.sum()), 1000)
    with pytest.raises(AssertionError, match="the sum: "):
        assert_near(values[1:].sum(), values.sum(), 1000, name="the sum")


def test_the_scale_is_that_of_the_largest_finite_entry() -> None:
    assert largest([1.0, -3.0, float("inf"), float("nan")]) == 3.0
    assert bound(4, 3.0) == 3 * bound(4) == 6 * bound(1)


@pytest.mark.parametrize(
    ("file", "computes"),
    [
        ("rollout/test_nucleus.py", True),  # imports torch
        ("machine/climb/test_process.py", True),  # by a helper
        ("rl/test_clip.py", True),  # its room
        ("test_docs.py", False),
        ("rewards/math/test_verifier.py", False),
    ],
)
def test_what_computes_is_told_by_what_it_imports(file: str, computes: bool) -> None:
    assert is_numeric(ROOT / "tests" / file) is computes


def test_every_file_that_imports_torch_is_marked() -> None:
    for path in (ROOT / "tests").rglob("test_*.py"):
        assert is_numeric(path) or "\nimport torch\n" not in Path(path).read_text(), path


def test_each_capability_limits_every_library_that_chooses_by_the_processor() -> None:
    assert set(LIMITS) == set(ORDER) >= {capability for capability, _ in QUICK}
    assert {threads for _, threads in QUICK} == set(THREADS)
    assert len(QUICK) == len(ORDER) * len(THREADS) // 2
    assert capabilities()[-1] == "best"
    told = environment("default", 2)
    assert told["OMP_NUM_THREADS"] == told["MKL_NUM_THREADS"] == "2"
    assert told["ATEN_CPU_CAPABILITY"] == "default"
    assert told.keys() >= {"ONEDNN_MAX_CPU_ISA", "MKL_CBWR"}
    assert environment("best", 1).keys() == {"OMP_NUM_THREADS", "MKL_NUM_THREADS"}
