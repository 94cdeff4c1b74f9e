"""What log-probs over nuclei cost, forward and backward, beside the whole vocabulary's.

    python -m munro.kernels.nucleus_logprob.bench              this machine's fastest device
    python -m munro.kernels.nucleus_logprob.bench --race       on a GPU: sizes of programs and parts
    python -m munro.kernels.nucleus_logprob.bench --crossing   from which width the rows cost more

One line a subject: milliseconds (the median of interleaved rounds), and GB/s of what must be moved.
On a GPU operands are bfloat16 (by autocast, where the matrix is float32), and each is timed twice:
as it is called, and as a recorded graph, which the host has no part in.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from munro.kernels.linear_logprob import linear_logprob
from munro.kernels.nucleus_logprob import nucleus_logprob
from munro.kernels.nucleus_logprob.layout import PART, plan

WIDEST = 64
TILINGS = ((4, 1024, 4), (4, 512, 4), (2, 1024, 4), (8, 512, 4), (4, 256, 2), (8, 1024, 8))
"""Rows, columns, warps."""
PARTS = (32, 128, 256)
"""Beside the usual one, with the first of those."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Of a problem."""

    positions: int
    width: int
    vocabulary: int
    candidates: float = 4.0
    """A position, on average."""


GPU = Size(positions=8192, width=1024, vocabulary=151_936)
CPU = Size(positions=1024, width=576, vocabulary=49_152)


def nuclei(
    size: Size, *, seed: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Tokens (T,), candidates (M,), offsets (T + 1,); a few ids are in most nuclei (Zipf)."""
    draw = np.random.default_rng(seed)
    widest = max(WIDEST, round(2 * size.candidates))
    counts = np.minimum(draw.geometric(1 / size.candidates, size.positions), widest)
    starts = np.concatenate([[0], counts.cumsum()]).astype(np.int64)
    kept = []
    for count in counts:
        # different ids by Zipf's law: the first of a draw that is long enough, as a rule
        drawn = draw.zipf(1.3, 16 + 8 * int(count))
        ids, first = np.unique(drawn[drawn <= size.vocabulary] - 1, return_index=True)
        ids = ids[np.argsort(first)][:count]
        spare = np.setdiff1d(np.arange(2 * widest), ids)[: count - len(ids)]
        kept.append(np.concatenate([ids, spare]))
    ids = np.concatenate(kept).astype(np.int64)
    return ids[starts[:-1]], ids, starts


class Bench:
    """One problem on a device, and its subjects."""

    def __init__(
        self, size: Size, device: torch.device, *, dtype: torch.dtype, part: int = PART
    ) -> None:
        draw = torch.Generator(device).manual_seed(0)
        token, ids, starts = nuclei(size)

        def numbers(rows: int, deviation: float) -> Tensor:
            made = torch.randn(rows, size.width, generator=draw, device=device)
            return made * deviation

        self._is_gpu = device.type == "cuda"
        operand = torch.bfloat16 if self._is_gpu else dtype
        self.hidden = numbers(size.positions, 1.0).to(operand).requires_grad_()
        self.weight = numbers(size.vocabulary, 3 / size.width**0.5).to(dtype).requires_grad_()
        if hasattr(self.weight, "grad_dtype"):
            self.weight.grad_dtype = torch.float32
        self.weight.grad = torch.zeros_like(self.weight, dtype=torch.float32)
        self.token = torch.from_numpy(token).to(device)
        self._upstream = torch.randn(size.positions, generator=draw, device=device)
        self.plan = plan(token, ids, starts, size.vocabulary, part=part).to(device)
        # a candidate: its row twice, a hidden state; and the rows of the gradient, read and written
        wide, distinct = len(ids) * size.width, len(self.plan.distinct) * size.width
        self.bytes = wide * (2 * self.weight.itemsize + self.hidden.itemsize) + 8 * distinct

    def added(self) -> Tensor:
        """The rows that occur, into the matrix's gradient."""
        return self._passed(nucleus_logprob, self.plan, grad_weight="add")

    def returned(self) -> Tensor:
        """Through autograd, as a whole matrix."""
        return self._passed(nucleus_logprob, self.plan)

    def whole(self) -> Tensor:
        """The head over the whole vocabulary."""
        return self._passed(_head, grad_weight="add")

    def scored(self) -> Tensor:
        """Forward alone."""
        with torch.no_grad(), self._autocast():
            return nucleus_logprob(self.hidden, self.weight, self.token, self.plan)

    def _passed(self, function: Callable[..., Tensor], *more: object, **how: object) -> Tensor:
        self.hidden.grad = None
        with self._autocast():
            logp = function(self.hidden, self.weight, self.token, *more, **how)
        logp.backward(self._upstream)  # type: ignore[no-untyped-call]
        return logp

    def _autocast(self) -> torch.autocast:
        return torch.autocast("cuda", torch.bfloat16, enabled=self._is_gpu)


def _head(hidden: Tensor, weight: Tensor, token: Tensor, *, grad_weight: str) -> Tensor:
    return linear_logprob(hidden, weight, token, grad_weight=grad_weight)[0]


def recorded(run: Callable[[], Tensor]) -> Callable[[], object]:
    """The same work as a graph of the device's."""
    beside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        for _ in range(2):
            run()
    torch.cuda.current_stream().wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


def timed(subjects: Mapping[str, Callable[[], object]], *, rounds: int = 9) -> dict[str, float]:
    """Median milliseconds of each, its rounds between those of the others."""
    found: dict[str, list[float]] = {name: [] for name in subjects}
    for index in range(rounds + 1):
        for name, run in subjects.items():
            taken = _once(run)
            if index:  # the first compiles
                found[name].append(taken)
    return {name: statistics.median(times) for name, times in found.items()}


def _once(run: Callable[[], object], *, repeats: int = 10) -> float:
    if not torch.cuda.is_available():
        began = time.perf_counter()
        run()
        return (time.perf_counter() - began) * 1e3
    begin, end = (
        torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        for _ in range(2)
    )
    torch.cuda.synchronize()
    begin.record()
    for _ in range(repeats):
        run()
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end)) / repeats


def against_the_head(size: Size, device: torch.device, dtype: torch.dtype) -> None:
    """Print this kernel beside the whole vocabulary."""
    bench = Bench(size, device, dtype=dtype)
    subjects: dict[str, Callable[[], object]] = {
        "nucleus": bench.added,
        "returned": bench.returned,
        "forward": bench.scored,
    }
    rounds = 9 if device.type == "cuda" else 3
    if device.type == "cuda":
        subjects |= {f"{name}, a graph": recorded(run) for name, run in [*subjects.items()]}  # type: ignore[arg-type]
    for name, ms in timed(subjects | {"whole vocabulary": bench.whole}, rounds=rounds).items():
        rate = f"{bench.bytes / ms / 1e6:8.0f} GB/s" if name.startswith("nucleus") else ""
        _say(f"{dtype} {name:22}{ms:10.3f} ms {rate}")


def race(size: Size, device: torch.device, dtype: torch.dtype) -> None:
    """Print sizes of programs, and of parts, as graphs."""
    from munro.kernels.nucleus_logprob import fused

    kinds = [(PART, one) for one in TILINGS] + [(part, TILINGS[0]) for part in PARTS]
    for part, one in kinds:
        bench = Bench(size, device, dtype=dtype, part=part)
        forward, both = _as(bench, fused.Tiling(*one))
        _say(f"{dtype} part {part} rows, columns, warps {one}: {forward:.3f}, {both:.3f} ms")


def _as(bench: Bench, tiling: object) -> tuple[float, float]:
    with _tiling(tiling):
        graphs = {"forward": recorded(bench.scored), "both": recorded(bench.added)}
        taken = timed(graphs, rounds=5)
    return taken["forward"], taken["both"]


@contextmanager
def _tiling(tiling: object) -> Iterator[None]:
    from munro.kernels.nucleus_logprob import fused

    usual, fused.tiling = fused.tiling, lambda _: tiling  # type: ignore[assignment,return-value]
    try:
        yield
    finally:
        fused.tiling = usual


def crossing(size: Size, device: torch.device, dtype: torch.dtype) -> None:
    """Print by the width of nuclei: rows of a product that cost what one gathered row does."""
    for candidates in (8.0, 64.0, 160.0):
        some = Size(
            positions=size.positions // 2,
            width=size.width,
            vocabulary=size.vocabulary,
            candidates=candidates,
        )
        bench = Bench(some, device, dtype=dtype)
        taken = timed({"rows": recorded(bench.added), "whole": bench.whole}, rounds=3)
        rows = taken["rows"] / len(bench.plan.ids)
        column = taken["whole"] / some.positions / some.vocabulary
        _say(f"{dtype} {candidates:.0f} candidates: {taken} ms; a row {rows / column:.0f} columns")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--race", action="store_true")
    parser.add_argument("--crossing", action="store_true")
    options = parser.parse_args()
    is_gpu = torch.cuda.is_available()
    device, size = torch.device("cuda" if is_gpu else "cpu"), GPU if is_gpu else CPU
    # the learner's working copy is in bfloat16
    for dtype in (torch.bfloat16, torch.float32) if is_gpu else (torch.float32,):
        if not options.race and not options.crossing:
            against_the_head(size, device, dtype)
        elif options.crossing:
            crossing(size, device, dtype)
    if options.race:
        race(size, device, torch.bfloat16)


if __name__ == "__main__":
    main()
