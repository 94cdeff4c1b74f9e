"""Attention over packed documents by blocks of queries, against a mask of all pairs.

    python benchmarks/scale/attention.py --length 16384

On the CPU, forward and backward, float32: how far answers and gradients lie apart, and each way's
peak of resident memory above what stood there before, each in a process of its own.
"""

from __future__ import annotations

import argparse
import multiprocessing
import re
import sys
from pathlib import Path
from typing import Any

import torch

from munro.kernels.attention import RowMask, attend, reference

HEADS, GROUPS, WIDTH, WINDOW = 2, 1, 64, 512


def inputs(length: int) -> tuple[list[torch.Tensor], torch.Tensor, RowMask]:
    """Queries, keys and values; a gradient; three documents."""
    generator = torch.Generator().manual_seed(0)
    ends = [length // 4, length // 2 + 7, length]
    until = torch.empty(1, length, dtype=torch.int32)
    position = torch.empty(1, length, dtype=torch.int64)
    for start, end in zip([0, *ends], ends, strict=False):
        until[0, start:end], position[0, start:end] = end, torch.arange(end - start)
    given = [
        torch.randn(1, heads, length, WIDTH, generator=generator).requires_grad_()
        for heads in (HEADS, GROUPS, GROUPS)
    ]
    return (
        given,
        torch.randn(1, HEADS, length, WIDTH, generator=generator),
        RowMask(until, position),
    )


def resident(name: str) -> float:
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024 / 1e6


def passed(way: str, length: int, window: int) -> tuple[list[torch.Tensor], float]:
    """Answers and gradients, and the peak in MB."""
    torch.set_num_threads(1)
    given, grad, mask = inputs(length)
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted anew
    before = resident("VmRSS")
    if way == "blocks":
        out = attend(*given, mask, scaling=WIDTH**-0.5, window=window)
    else:
        query, key, value = given
        dense = reference.added(
            reference.visible(mask.until_RL, mask.position_RL, window), query.dtype
        )
        key, value = (reference.grouped(x, HEADS) for x in (key, value))
        out = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=dense)
    out.backward(grad)
    return [out.detach(), *(one.grad for one in given)], resident("VmHWM") - before


def told(way: str, length: int, window: int, queue: Any) -> None:
    made, peak = passed(way, length, window)
    queue.put(([one.numpy() for one in made], peak))


def main() -> int:
    """Non-zero where they differ by more than 1e-6, or blocks take more than an eighth."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--length", type=int, default=16_384)
    length, failed = parser.parse_args().length, False
    context = multiprocessing.get_context("spawn")
    for window in (0, WINDOW):
        found = {}
        for way in ("blocks", "dense"):
            queue = context.Queue()
            child = context.Process(target=told, args=(way, length, window, queue))
            child.start()
            found[way] = queue.get()
            child.join()
        (ours, peak), (theirs, dense) = found["blocks"], found["dense"]
        # gradients of keys are sums over thousands of queries: by the size of the largest
        apart = [
            float(abs(one - other).max() / max(1.0, abs(other).max()))
            for one, other in zip(ours, theirs, strict=True)
        ]
        names = ("answers", "queries", "keys", "values")
        shown = ", ".join(f"{name} {by:.1e}" for name, by in zip(names, apart, strict=True))
        print(
            f"window {window or 'none'}: apart by {shown}; peak {peak:,.0f} against {dense:,.0f} MB"
        )
        failed |= max(apart) > 1e-6 or peak > dense / 8
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
