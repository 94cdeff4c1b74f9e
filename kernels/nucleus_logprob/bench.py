"""What log-probs over nuclei cost, forward and backward, beside the whole vocabulary's.

    python -m munro.kernels.nucleus_logprob.bench              this machine's fastest device
    python -m munro.kernels.nucleus_logprob.bench --race       on a GPU: sizes of programs and parts
    python -m munro.kernels.nucleus_logprob.bench --crossing   from which width the rows cost more

One line a subject: milliseconds (the median of interleaved rounds), and GB/s of what must be moved.
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
            return (made * deviation).to(dtype).requires_grad_()

        self.hidden = numbers(size.positions, 1.0)
        self.weight = numbers(size.vocabulary, 3 / size.width**0.5)
        if hasattr(self.weight, "grad_dtype"):
            self.weight.grad_dtype = torch.float32
        self.weight.grad = torch.zeros_like(self.weight, dtype=torch.float32)
        self.token = torch.from_numpy(token).to(device)
        self.plan = plan(token, ids, starts, size.vocabulary, part=part).to(device)
        # a candidate: its row twice, a hidden state; and the rows of the gradient, read and written
        wide, distinct = len(ids) * size.width, len(self.plan.distinct) * size.width
        self.bytes = 3 * wide * self.weight.itemsize + 8 * distinct

    def added(self) -> Tensor:
        """The rows that occur, into the matrix's gradient."""
        return self._passed(
            nucleus_logprob(self.hidden, self.weight, self.token, self.plan, grad_weight="add")
        )

    def returned(self) -> Tensor:
        """Through autograd, as a whole matrix."""
        return self._passed(nucleus_logprob(self.hidden, self.weight, self.token, self.plan))

    def whole(self) -> Tensor:
        """The head over the whole vocabulary."""
        return self._passed(
            linear_logprob(self.hidden, self.weight, self.token, grad_weight="add")[0]
        )

    def scored(self) -> Tensor:
        """Forward alone."""
        with torch.no_grad():
            return nucleus_logprob(self.hidden, self.weight, self.token, self.plan)

    def _passed(self, logp: Tensor) -> Tensor:
        self.hidden.grad = None
        logp.sum().backward()  # type: ignore[no-untyped-call]
        return logp


def timed(subjects: Mapping[str, Callable[[], Tensor]], *, rounds: int = 9) -> dict[str, float]:
    """Median milliseconds of each, its rounds between those of the others."""
    found: dict[str, list[float]] = {name: [] for name in subjects}
    for index in range(rounds + 1):
        for name, run in subjects.items():
            taken = _once(run)
            if index:  # the first compiles
                found[name].append(taken)
    return {name: statistics.median(times) for name, times in found.items()}


def _once(run: Callable[[], Tensor], *, repeats: int = 10) -> float:
    if not torch.cuda.is_available():
        began = time.perf_counter()
        run()
        return (time.perf_counter() - began) * 1e3
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
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
    names = {"nucleus": bench.added, "returned": bench.returned, "forward": bench.scored}
    rounds = 9 if device.type == "cuda" else 3
    for name, ms in timed(names | {"whole vocabulary": bench.whole}, rounds=rounds).items():
        rate = f"{bench.bytes / ms / 1e6:8.0f} GB/s" if name == "nucleus" else ""
        _say(f"{dtype} {name:18}{ms:10.3f} ms {rate}")


def race(size: Size, device: torch.device, dtype: torch.dtype) -> None:
    """Print sizes of programs and parts, best last."""
    from munro.kernels.nucleus_logprob import fused

    found = {}
    for part in (32, 64, 128, 256):
        bench = Bench(size, device, dtype=dtype, part=part)
        for rows, columns, warps in ((1, 1024, 4), (2, 1024, 4), (4, 1024, 4), (8, 1024, 8)):
            found[part, rows, columns, warps] = _as(bench, fused.Tiling(rows, columns, warps))
        for rows, columns, warps in ((4, 512, 4), (4, 512, 2), (8, 512, 4), (8, 256, 4)):
            found[part, rows, columns, warps] = _as(bench, fused.Tiling(rows, columns, warps))
    for key, (forward, both) in sorted(found.items(), key=lambda item: -item[1][1]):
        _say(f"{dtype} part, rows, columns, warps {key}: {forward:.3f}, {both:.3f} ms")


def _as(bench: Bench, tiling: object) -> tuple[float, float]:
    with _tiling(tiling):
        taken = timed({"forward": bench.scored, "both": bench.added}, rounds=5)
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
    for candidates in (8.0, 64.0, 256.0):
        some = Size(
            positions=size.positions // 4,
            width=size.width,
            vocabulary=size.vocabulary,
            candidates=candidates,
        )
        bench = Bench(some, device, dtype=dtype)
        taken = timed({"rows": bench.added, "whole": bench.whole}, rounds=3)
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
    for dtype in (torch.float32, torch.bfloat16) if is_gpu else (torch.float32,):
        for is_asked, of in ((options.race, race), (options.crossing, crossing)):
            if is_asked:
                of(size, device, dtype)
        if not options.race and not options.crossing:
            against_the_head(size, device, dtype)


if __name__ == "__main__":
    main()
