"""Rows of results, on disk as soon as each is known, and how one call is measured."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

Row = dict[str, object]
Subject = Callable[[], object]

OURS = ("munro", "floor")
"""How the names of subjects begin that are no peers."""


class Rows:
    """The results of one section; a later hang loses none of them."""

    def __init__(self, path: Path, *, peers: bool = True) -> None:
        self.peers = peers
        """Whether other people's subjects run too."""
        self._path = path
        self._rows: list[Row] = []

    def note(self, **row: object) -> None:
        """Add one result."""
        self._rows.append({k: round(v, 5) if isinstance(v, float) else v for k, v in row.items()})
        self._path.write_text(json.dumps(self._rows), encoding="utf-8")

    def failed(self, error: BaseException, **row: object) -> None:
        """Add what did not run, and why."""
        self.note(**row, error=f"{type(error).__name__}: {str(error)[:200]}")


def device_of(*, smoke: bool) -> torch.device:
    """The card, or the CPU of a smoke run; the same random numbers every time."""
    torch.manual_seed(0)
    return torch.device("cpu" if smoke else "cuda")


def random(
    *shape: int,
    device: torch.device,
    dtype: torch.dtype = torch.bfloat16,
    std: float = 1.0,
    grad: bool = False,
) -> Tensor:
    """Random data: zeros would run faster than what anybody multiplies."""
    made = torch.randn(*shape, device=device).mul_(std).to(dtype)
    return made.requires_grad_(grad)


def measured(run: Subject, *, smoke: bool, rounds: int = 1) -> tuple[float, float]:
    """Median milliseconds of a call, and the MiB at its peak beside what was there."""
    if smoke:
        began = time.perf_counter()
        run()
        return (time.perf_counter() - began) * 1e3, 0.0
    from triton.testing import do_bench

    run()  # compiles
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    run()
    torch.cuda.synchronize()
    extra = (torch.cuda.max_memory_allocated() - before) / 2**20
    times = [do_bench(run, warmup=20, rep=120, return_mode="median") for _ in range(rounds)]
    return statistics.median(times), extra


def compare(
    rows: Rows,
    what: str,
    subjects: Mapping[str, Subject],
    *,
    smoke: bool,
    flops: float = 0.0,
    moved: float = 0.0,
) -> None:
    """Measure subjects in two interleaved rounds; the best of a subject's two medians counts.

    Args:
        rows: where results go.
        what: the work, for the table.
        subjects: what does it.
        smoke: whether this is a smoke run.
        flops: floating-point operations of the work (not of a subject's way to do it).
        moved: bytes that the work must move.
    """
    best: dict[str, tuple[float, float]] = {}
    broken: set[str] = set()
    for _ in range(1 if smoke else 2):
        for name, run in subjects.items():
            if name in broken or not (rows.peers or name.startswith(OURS)):
                continue
            try:
                ms, extra = measured(run, smoke=smoke)
            except Exception as error:  # noqa: BLE001 - a peer that does not run is a result
                rows.failed(error, what=what, subject=name)
                broken.add(name)
                continue
            if name not in best or ms < best[name][0]:
                best[name] = ms, extra
    for name, (ms, extra) in best.items():
        row: Row = {"what": what, "subject": name, "ms": ms, "extra_mib": round(extra, 1)}
        if flops:
            row["tflops"] = flops / ms / 1e9
        if moved:
            row["tb_s"] = moved / ms / 1e9
        rows.note(**row)
