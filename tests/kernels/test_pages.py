"""Large buffers ask for huge pages; small ones, and other machines, are left alone."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from munro.kernels import pages


def flags(address: int) -> str:
    """What the kernel was told of the memory at an address."""
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        first = line.split(maxsplit=1)[0]
        if "-" in first and not first.endswith(":"):
            low, high = (int(part, 16) for part in first.split("-"))
            inside = low <= address < high
        elif inside and first == "VmFlags:":
            return line
    raise AssertionError("no such memory")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="huge pages are Linux's")
def test_a_large_buffer_is_in_huge_pages_and_is_whole():
    if not Path("/sys/kernel/mm/transparent_hugepage").exists():
        pytest.skip("this kernel has no huge pages")
    made = pages.empty((64, 256, 256), torch.zeros(0))
    assert " hg" in flags(made.data_ptr() + made.numel() * 2)
    made.fill_(3)
    assert made.sum() == 3 * made.numel()


def test_shape_and_type_are_as_asked():
    like = torch.zeros(0, dtype=torch.bfloat16)
    assert pages.empty((3, 5), like).dtype == torch.bfloat16
    made = pages.empty((1 << 11, 1 << 11), like, torch.float64)
    assert (made.shape, made.dtype) == ((1 << 11, 1 << 11), torch.float64)
    assert made.is_contiguous()


def test_elsewhere_nothing_changes(monkeypatch):
    pages._advise.cache_clear()
    monkeypatch.setattr(sys, "platform", "darwin")
    try:
        assert pages.empty((64, 256, 256), torch.zeros(0)).shape == (64, 256, 256)
        assert pages._advise() is None
    finally:
        pages._advise.cache_clear()
