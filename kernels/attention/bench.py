"""What attention over trees and windows costs, forward and backward, beside a mask of all pairs.

    python -m munro.kernels.attention.bench            this machine's fastest device
    python -m munro.kernels.attention.bench --length   where FlexAttention overtakes the dense mask
    python -m munro.kernels.attention.bench --race     on a GPU: sizes of FlexAttention's programs

One line a subject: milliseconds (the median of interleaved rounds), TFLOP/s of the pairs that are
seen, and on a GPU the memory beside what was there.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention.flex_attention import flex_attention

from munro.kernels.attention import Documents, RowMask, attend, by_blocks, fused, reference

Subject = Callable[[], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Of a row."""

    prompt: int
    replies: int
    reply: int
    heads: int
    groups: int
    width: int
    window: int = 0

    @property
    def length(self) -> int:
        """Tokens."""
        return self.prompt + self.replies * self.reply

    def __str__(self) -> str:
        """As the tables have it."""
        near = f", window {self.window}" if self.window else ""
        rows = f"P={self.prompt}, {self.replies} x {self.reply}{near}"
        return f"{rows}; {self.heads}/{self.groups} heads of {self.width}"


HEADS = {"heads": 16, "groups": 8, "width": 128}
GPU = (
    Size(prompt=2048, replies=12, reply=512, **HEADS),
    Size(prompt=16384, replies=0, reply=0, window=512, **HEADS),
)
FEW = {"heads": 4, "groups": 2, "width": 64}
CPU = (
    Size(prompt=512, replies=6, reply=128, **FEW),
    Size(prompt=2048, replies=0, reply=0, window=128, **FEW),
)


VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "": {},
    "safe": {"ROWS_GUARANTEED_SAFE": True},
    "prescaled": {"PRESCALE_QK": True},
    "by TMA": {"fwd_USE_TMA": True},
    "128 x 128": {"fwd_BLOCK_M": 128, "fwd_BLOCK_N": 128, "fwd_num_stages": 2, "fwd_num_warps": 8},
    "64 x 128": {"fwd_BLOCK_M": 64, "fwd_BLOCK_N": 128, "fwd_num_stages": 2, "fwd_num_warps": 4},
    "backward 64s": {
        **{f"bwd_BLOCK_{one}": 64 for one in ("M1", "N1", "M2", "N2")},
        "bwd_num_stages": 3,
        "bwd_num_warps": 4,
    },
    "backward 2 stages": {"bwd_num_stages": 2},
    "backward 128s": {
        **{f"bwd_BLOCK_{one}": 128 for one in ("M1", "N1", "M2", "N2")},
        "bwd_num_stages": 2,
        "bwd_num_warps": 8,
    },
}
"""Beside FlexAttention's own choice."""


class Bench:
    """One row on a device, and the ways to compute it."""

    def __init__(self, size: Size, device: torch.device, dtype: torch.dtype) -> None:
        self.size, self.scaling = size, size.width**-0.5
        draw = torch.Generator(device).manual_seed(0)

        def numbers(heads: int) -> Tensor:
            shape = (1, heads, size.length, size.width)
            return torch.randn(*shape, generator=draw, device=device).to(dtype).requires_grad_()

        self.leaves = [numbers(size.heads), numbers(size.groups), numbers(size.groups)]
        self.asked = numbers(size.heads).detach()
        until = torch.full((1, size.length), size.length, dtype=torch.int32)
        position = torch.arange(size.length, dtype=torch.int32)[None].clone()
        ends = size.prompt + size.reply * torch.arange(1, size.replies + 1)
        until[0, size.prompt :] = ends.repeat_interleave(size.reply)
        position[0, size.prompt :] = size.prompt + torch.arange(size.reply).repeat(size.replies)
        self.until, self.position = until.to(device), position.to(device)
        most = size.window or size.length
        self.pairs = int((position[0] + 1).clamp(max=most).sum())

    def mask(self) -> RowMask:
        """Made anew, as for a micro-batch."""
        documents = None
        if not self.size.replies:
            ends = torch.tensor([0, self.size.length], dtype=torch.int32).to(self.until.device)
            documents = Documents(starts=ends, longest=self.size.length)
        windows = (self.size.window,)
        return RowMask(self.until, self.position, documents=documents, windows=windows)

    def timed(self, run: Subject) -> None:
        """Forward and backward."""
        torch.autograd.grad(run(), self.leaves, self.asked)

    def variants(self) -> Mapping[str, Subject]:
        """FlexAttention with other sizes of programs, promises of the mask, or a fixed length."""
        query, key, value = self.leaves
        block = self.mask().blocks(self.size.window)

        def cut(how: Mapping[str, Any], *, dynamic: bool) -> Subject:
            # each its own code, or they would share one compiler cache
            made = torch.compile(lambda *x, **y: flex_attention(*x, **y), dynamic=dynamic)
            shared = query.shape[1] != key.shape[1]
            options = dict(how)
            return lambda: made(
                query, key, value, block_mask=block, enable_gqa=shared, kernel_options=options
            )

        found = {"as it is": self.subjects()["flex, mask kept"]}
        return found | {
            f"fixed length, {name or 'no more'}": cut(how, dynamic=False)
            for name, how in VARIANTS.items()
        }

    def subjects(self) -> Mapping[str, Subject]:
        """By name."""
        query, key, value = self.leaves
        kept, window = self.mask(), self.size.window
        shared = {"enable_gqa": query.shape[1] != key.shape[1], "scale": self.scaling}

        def dense() -> Tensor:
            seen = reference.visible(self.until, self.position, window)
            mask = reference.added(seen, query.dtype)
            return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, **shared)

        found: dict[str, Subject] = {
            "munro, mask made each time": lambda: attend(
                query, key, value, self.mask(), scaling=self.scaling, window=window
            ),
            "munro, mask kept": lambda: attend(
                query, key, value, kept, scaling=self.scaling, window=window
            ),
            "dense mask, made each time": dense,
            "sdpa, causal": lambda: F.scaled_dot_product_attention(
                query, key, value, is_causal=True, **shared
            ),
        }
        if query.device.type == "cuda":
            found["flex, mask kept"] = lambda: fused.flex(
                query, key, value, kept.blocks(window), scaling=self.scaling
            )
        else:
            found["by blocks"] = lambda: by_blocks.attend(
                query,
                key,
                value,
                until_RL=self.until,
                position_RL=self.position,
                window=window,
                scaling=self.scaling,
            )
        return found


def race(bench: Bench, subjects: Mapping[str, Subject], *, rounds: int) -> dict[str, float]:
    """Print a line a subject; milliseconds of forward and backward by name."""
    seconds: dict[str, list[float]] = {name: [] for name in subjects}
    subjects = dict(subjects)
    memory: dict[str, float] = {}
    device = bench.leaves[0].device
    for turn in range(rounds + 2):
        for name, run in list(subjects.items()):
            try:
                used, taken = _timed(partial(bench.timed, run), device)
            except Exception as error:  # noqa: BLE001 (a variant that cannot be compiled is a row)
                emit(f"  {name}: {type(error).__name__}")
                del subjects[name], seconds[name]
                continue
            if turn >= 2:  # the first ones compile and warm up
                seconds[name].append(taken)
                memory[name] = used
    emit(bench.size)
    products = 3.5 * 4 * bench.pairs * bench.size.heads * bench.size.width
    for name, all_taken in seconds.items():
        median = statistics.median(all_taken)
        size = f", {memory[name]:.0f} MiB" if device.type == "cuda" else ""
        emit(f"  {name:28} {median * 1e3:9.3f} ms {products / median / 1e12:7.2f} TFLOP/s{size}")
    return {name: statistics.median(each) * 1e3 for name, each in seconds.items()}


def emit(line: object) -> None:
    """Say a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _timed(run: Callable[[], object], device: torch.device) -> tuple[float, float]:
    """MiB beside what was there, and seconds."""
    if device.type != "cuda":
        start = time.perf_counter()
        run()
        return 0.0, time.perf_counter() - start
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    start = time.perf_counter()
    run()
    torch.cuda.synchronize()
    taken = time.perf_counter() - start
    return (torch.cuda.max_memory_allocated() - before) / 2**20, taken


def lengths(device: torch.device, dtype: torch.dtype, rounds: int) -> None:
    """Rows of a prompt and four replies, from short to long."""
    for eighth in (32, 64, 96, 128, 192, 256):
        bench = Bench(Size(prompt=4 * eighth, replies=4, reply=eighth, **HEADS), device, dtype)
        race(bench, bench.subjects(), rounds=rounds)


def main(words: list[str]) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m munro.kernels.attention.bench")
    parser.add_argument("--length", action="store_true", help="of rows, from short to long")
    parser.add_argument("--race", action="store_true", help="sizes of programs")
    parser.add_argument("--rounds", type=int, default=10)
    asked = parser.parse_args(words)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if asked.race and device.type != "cuda":
        parser.error("--race needs an NVIDIA GPU: FlexAttention has no backward pass elsewhere")
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    emit(f"varlen_attn takes {', '.join(sorted(fused.lengths_words())) or 'nothing'}")
    if asked.length:
        lengths(device, dtype, asked.rounds)
        return
    for size in GPU if device.type == "cuda" else CPU:
        bench = Bench(size, device, dtype)
        subjects = bench.variants() if asked.race else bench.subjects()
        race(bench, subjects, rounds=asked.rounds)


if __name__ == "__main__":
    main(sys.argv[1:])
