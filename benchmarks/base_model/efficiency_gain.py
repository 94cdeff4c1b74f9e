"""How often the intervals of an efficiency gain hold the truth, and how wide they are.

Ladders are drawn from a known law, gain and noise, and compared as `munro gain` does. A 95%
interval should hold the truth 95 times in 100, whether there are four rungs or six; what few rungs
cost is width. Prints a table and, at the end, one line of JSON.

    python benchmarks/base_model/efficiency_gain.py --draws 400
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator

import numpy as np

from munro.base_model.results import ONLY_LOSS, TrainedRun
from munro.base_model.scaling.comparison import CompareConfig, compare
from munro.base_model.scaling.law import PowerLaw, Trend

LAW = PowerLaw(8e3, 0.2, 1.6)
SMALLEST, LARGEST = 1e18, 1e20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--draws", type=int, default=400, help="ladders of each kind")
    parser.add_argument("--redraws", type=int, default=400, help="redrawn curves of each ladder")
    parser.add_argument("--gain", type=float, default=1.3, help="true gain at every rung")
    chosen = parser.parse_args()
    print(
        f"true gain {chosen.gain:g}, L = 8000 C^-0.2 + 1.6 over {SMALLEST:g} to {LARGEST:g}, "
        f"{chosen.draws} ladders each, 95% intervals\n"
    )
    print(
        f"{'rungs':>5}{'noise':>8}{'known':>7}{'held':>8}{'at largest':>12}"
        f"{'median width there':>20}{'slope held':>12}{'says holds':>12}"
    )
    rows = [
        row
        for rungs in (4, 5, 6)
        for noise in (0.001, 0.005)
        for known in (False, True)
        for row in measured(rungs, noise, known, chosen)
    ]
    print(json.dumps({"benchmark": "efficiency_gain", "rows": rows}))


def measured(
    rungs: int, noise: float, known: bool, chosen: argparse.Namespace
) -> Iterator[dict[str, float]]:
    """One row of the table, told as soon as it is there."""
    held, last, widths, slopes, verdicts = [], [], [], [], 0
    for seed in range(chosen.draws):
        runs = list(drawn(rungs, noise, chosen.gain, seed))
        config = CompareConfig(noise=noise if known else 0.0, draws=chosen.redraws, seed=seed)
        gain = compare(runs, config).column("flops", ONLY_LOSS).gains["idea"]
        inside = [chosen.gain in each for each in gain.intervals]
        held += inside
        last.append(inside[-1])
        widths.append(gain.intervals[-1].high - gain.intervals[-1].low)
        slopes.append(1.0 in gain.per_decade_interval)
        verdicts += gain.trend is Trend.HOLDS
    row = {
        "rungs": rungs,
        "noise": noise,
        "known": known,
        "held": float(np.mean(held)),
        "held_at_largest": float(np.mean(last)),
        "median_width": float(np.median(widths)),
        "slope_held": float(np.mean(slopes)),
        "said_holds": verdicts / chosen.draws,
    }
    width = "open" if math.isinf(row["median_width"]) else f"{row['median_width']:.2f}"
    print(
        f"{rungs:>5}{noise:>8.1%}{'yes' if known else 'no':>7}{row['held']:>8.1%}"
        f"{row['held_at_largest']:>12.1%}{width:>20}{row['slope_held']:>12.1%}"
        f"{row['said_holds']:>12.1%}",
        flush=True,
    )
    yield row


def drawn(rungs: int, noise: float, gain: float, seed: int) -> Iterator[TrainedRun]:
    """A baseline and one candidate, both with noise of their own."""
    rng = np.random.default_rng([rungs, round(1e6 * noise), seed])
    for name, own in (("baseline", 1.0), ("idea", gain)):
        for cost in np.geomspace(SMALLEST, LARGEST, rungs):
            loss = float(LAW.loss([cost * own])[0] * np.exp(noise * rng.standard_normal()))
            yield TrainedRun(
                name=name,
                rung=f"{cost:.3g}",
                flops=float(cost),
                seconds=None,
                losses={ONLY_LOSS: loss},
            )


if __name__ == "__main__":
    main()
