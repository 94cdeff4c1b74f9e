"""How often an interval holds the truth, and what pairing finds that two intervals do not.

    python benchmarks/evaluation/intervals.py

Verdicts are drawn on tasks whose true rates are known, so the truth is too: tasks x runs x rate x
how different tasks are, 1,500 draws a cell. Beside the share that holds it stands that of a
percentile bootstrap over tasks, and the width of both. Then the paired difference of two models,
and the same two compared as if their tasks were not the same. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from munro.evaluation.statistics import (
    Difference,
    Estimate,
    paired,
    pass_at_1,
    t_outside,
    t_quantile,
)

TASKS = (10, 30, 100, 200)
RUNS = (1, 4, 16)
RATES = (0.5, 0.9, 0.97)
ALIKE = {"very": 0.5, "little": 20.0}
"""How different tasks are: their true rates are drawn from Beta(p c, (1 - p) c)."""
DEMAND = 0.92
RESAMPLED = 500


def rates(rate: float, alike: float, num: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """True rates of tasks, [N], that average to `rate` over all tasks of the kind."""
    return rng.beta(rate * alike, (1 - rate) * alike, size=num)


def verdicts(rate_N: NDArray[np.float64], runs: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """[N, R] of a model with these true rates."""
    drawn: NDArray[np.bool_] = rng.random((len(rate_N), runs)) < rate_N[:, None]
    return drawn


def bootstrap(passed_NR: NDArray[np.bool_], rng: np.random.Generator) -> Estimate:
    """The percentile bootstrap over tasks."""
    rate_N = passed_NR.mean(axis=1)
    means = rate_N[rng.integers(len(rate_N), size=(RESAMPLED, len(rate_N)))].mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return Estimate(mean=float(rate_N.mean()), low=float(low), high=float(high))


def unpaired(a_NR: NDArray[np.bool_], b_NR: NDArray[np.bool_]) -> Difference:
    """B minus A as if their tasks had nothing in common."""
    a_N, b_N = a_NR.mean(axis=1), b_NR.mean(axis=1)
    mean = float(b_N.mean() - a_N.mean())
    error = math.sqrt(a_N.var(ddof=1) / len(a_N) + b_N.var(ddof=1) / len(b_N))
    degrees = len(a_N) + len(b_N) - 2
    half = t_quantile(0.95, degrees) * error
    p = t_outside(mean / error, degrees)
    return Difference(mean=mean, low=mean - half, high=mean + half, p=p)


def cells(draws: int) -> Iterator[dict[str, object]]:
    """A line of the table for each cell of the grid."""
    for num, runs, rate, alike in itertools.product(TASKS, RUNS, RATES, ALIKE):
        rng = np.random.default_rng([num, runs, int(100 * rate), int(ALIKE[alike])])
        held, wide = np.zeros(2), np.zeros(2)
        for _ in range(draws):
            passed = verdicts(rates(rate, ALIKE[alike], num, rng), runs, rng)
            found = (pass_at_1(passed), bootstrap(passed, rng))
            held += [one.low <= rate <= one.high for one in found]
            wide += [one.high - one.low for one in found]
        yield {
            "tasks": num,
            "runs": runs,
            "rate": rate,
            "different": alike,
            "ours": held[0] / draws,
            "bootstrap": held[1] / draws,
            "width": wide[0] / draws,
            "bootstrap_width": wide[1] / draws,
        }


def two_models(
    draws: int, *, tasks: int = 200, runs: int = 4, better: float = 0.04
) -> dict[str, float]:
    """How often a model that is better on every task by a little is found out, either way.

    Args:
        draws: pairs of evaluations.
        tasks: in each.
        runs: of each task.
        better: true difference, in logits scaled to about so much of the pass rate.
    """
    found = {"paired": 0, "unpaired": 0, "paired_holds": 0, "alarms": 0}
    for number in range(draws):
        rng = np.random.default_rng([5, number])
        rate_N = rates(0.5, ALIKE["very"], tasks, rng)
        odds = np.exp(better / 0.06) * rate_N / np.maximum(1 - rate_N, 1e-12)
        better_N = odds / (1 + odds)
        truth = float((better_N - rate_N).mean())
        a, b, again = (verdicts(of, runs, rng) for of in (rate_N, better_N, rate_N))
        difference = paired(a, b)
        found["paired"] += difference.p < 0.05
        found["paired_holds"] += difference.low <= truth <= difference.high
        found["unpaired"] += unpaired(a, b).p < 0.05
        found["alarms"] += paired(a, again).p < 0.05
    return {name: count / draws for name, count in found.items()}


def main() -> None:
    """Print both tables."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--draws", type=int, default=1500)
    given = options.parse_args()
    print("tasks runs  rate  tasks differ   ours (width)    bootstrap (width)")
    worst, wider = 1.0, 0.0
    for cell in cells(given.draws):
        print(
            "{tasks:5d} {runs:4d}  {rate:4.2f}  {different:<12}  {ours:.3f} ({width:.2f})    "
            "{bootstrap:.3f} ({bootstrap_width:.2f})".format(**cell)
        )
        worst = min(worst, float(str(cell["ours"])))
        if int(str(cell["tasks"])) >= 100:
            wider = max(wider, float(str(cell["width"])) / float(str(cell["bootstrap_width"])))
    models = two_models(min(given.draws, 400))
    print(f"the lowest coverage is {worst:.3f}, {DEMAND} is wanted")
    print(
        f"a model a little better on every task, 200 x 4: found in {models['paired']:.0%} paired, "
        f"in {models['unpaired']:.0%} unpaired; the paired interval holds the difference in "
        f"{models['paired_holds']:.0%}; a model against itself: {models['alarms']:.1%} alarms"
    )
    print(json.dumps({"coverage": worst, "wider": wider, "met": worst >= DEMAND, **models}))


if __name__ == "__main__":
    main()
