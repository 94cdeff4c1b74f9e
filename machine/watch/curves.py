"""A run's metrics as columns, thinned to what a screen shows; only bins that changed are told."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from munro.machine.report.figures import PHASES
from munro.machine.report.report import ZERO_IF_SILENT
from munro.machine.run.metrics import EVENT

WHOLE = {"policy/k", "clip/low", "clip/high"}
"""Whether the clip is idle is seen step by step."""
OTHER = "time/other"
"""Seconds of a step that no phase claims; made here, from the others."""


class Curves:
    """The numbers of a run's lines, one column a metric.

    Example:
        curves = Curves()
        curves.add({"step": 1, "reward/total": 0.5})
        curves.since(0, 0, most=1500, names=["reward/total"])
    """

    def __init__(self) -> None:
        self.steps = array("q")
        self.events: list[dict[str, Any]] = []
        self._columns: dict[str, array[float]] = {}

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def names(self) -> list[str]:
        """Metrics that were ever measured."""
        return sorted({*self._columns, *([OTHER] if "time/step" in self._columns else [])})

    def add(self, line: Mapping[str, Any]) -> None:
        """Take in a line; what is no number, or no step's, is left out."""
        step = line.get("step")
        if not _is_number(step):
            return
        place = len(self.steps)
        self.steps.append(int(step))  # type: ignore[arg-type]
        for name, value in line.items():
            if name == EVENT and isinstance(value, list):
                self.events += [{"step": int(step), "text": str(text)} for text in value]  # type: ignore[arg-type]
            elif name != "step" and _is_number(value):
                column = self._columns.setdefault(name, array("d"))
                column.extend([math.nan] * (place - len(column)))
                column.append(value)

    def column(self, name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        """[N] values of a metric, NaN where it was not measured."""
        if name == OTHER:
            claimed = [np.nan_to_num(self.column(f"time/{phase}")) for phase in PHASES]
            rest: np.ndarray[Any, np.dtype[np.float64]]
            rest = np.maximum(self.column("time/step") - sum(claimed), 0.0)
            return rest
        held = self._columns.get(name, array("d"))
        whole = np.full(len(self), np.nan)
        whole[: len(held)] = held
        if name.startswith(ZERO_IF_SILENT) and held:
            whole = np.nan_to_num(whole)
        return whole

    def last(self, name: str) -> float | None:
        """The last value that was measured."""
        seen = self.column(name)
        seen = seen[~np.isnan(seen)]
        return float(seen[-1]) if len(seen) else None

    def since(self, bins: int, per: int, *, most: int, names: Iterable[str]) -> dict[str, Any]:
        """What a page does not have yet.

        Args:
            bins: whole ones that it has; 0 for none.
            per: lines in each of those.
            most: bins at the most.
            names: metrics that it draws.

        Returns:
            `per` lines in a bin, the first bin that is told (`start`), `lines` in all, and of each
            bin from there on its last step and the mean of each metric.
        """
        now = self.per(most)
        start = bins if per == now and bins * now <= len(self) else 0
        steps = self.steps[start * now :]
        ends = [*steps[now - 1 :: now], *(steps[-1:] if len(steps) % now else [])]
        return {
            "per": now,
            "start": start,
            "lines": len(self),
            "steps": ends,
            "columns": {name: self._means(name, start * now, now) for name in names},
        }

    def per(self, most: int) -> int:
        """Lines in a bin: a power of two, so that bins change seldom."""
        return int(2 ** max(0, math.ceil(math.log2(max(len(self), 1) / most))))

    def _means(self, name: str, first: int, per: int) -> list[float | None]:
        values = self.column(name)[first:]
        pad = -len(values) % per
        binned = np.concatenate([values, np.full(pad, np.nan)]).reshape(-1, per)
        count = (~np.isnan(binned)).sum(1)
        sums = np.nansum(binned, 1)
        return [short(total / n) if n else None for total, n in zip(sums, count, strict=True)]


def short(value: float) -> float | None:
    """Six digits, which is more than a curve shows; None of what is not finite."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


def gist(runs: Sequence[Curves], names: Iterable[str]) -> dict[str, list[float | None]]:
    """Of all runs together what figures are chosen by: `WHOLE` of them as they are, of the others
    the largest value; nothing of what was never measured."""
    found: dict[str, list[float | None]] = {}
    for name in names:
        values = np.concatenate([run.column(name) for run in runs])
        seen = values[~np.isnan(values)]
        if len(seen):
            found[name] = values.tolist() if name in WHOLE else [float(seen.max())]
    for name in WHOLE & found.keys():
        found[name] = [None if math.isnan(v) else v for v in found[name] if v is not None]
    return found


def _is_number(value: object) -> bool:
    is_one = isinstance(value, int | float) and not isinstance(value, bool)
    return is_one and math.isfinite(value) and abs(value) < 2**63  # type: ignore[arg-type]
