"""What gates say of a model against itself, and of one that lost ten points.

    python benchmarks/evaluation/gates.py                        # a model whose rates are known
    python benchmarks/evaluation/gates.py --attempts evals/many  # kept attempts of yours, resampled

Each trial draws fresh attempts of one model twice, 200 tasks x 4 runs, keeps them as results and
asks every rule. A false alarm is a "fail": at most 5% of 200 trials for each rule. Then the model
in question has lost ten points: that must be found in 80%. Ends with one line of JSON.

`--attempts` takes a folder of kept results with many runs of each task (16 or more): a trial then
draws runs of each task from those, without replacement. A drop is planted by turning passed
attempts into failed ones.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from munro.evaluation.config import GateConfig
from munro.evaluation.gate import Ruling, Verdict, decide
from munro.evaluation.results import Results
from munro.evaluation.types import AttemptRow

Draw = Callable[[np.random.Generator], NDArray[np.bool_]]
"""Fresh verdicts [N, R] of one model."""
STORED = 5
"""Results of the same model that make a front."""


def model(num_tasks: int, runs: int, *, rate: float = 0.8, alike: float = 0.7) -> Draw:
    """A model whose tasks' true rates are drawn once, from Beta(p c, (1 - p) c)."""
    rate_N = np.random.default_rng(7).beta(rate * alike, (1 - rate) * alike, size=num_tasks)
    return lambda rng: rng.random((num_tasks, runs)) < rate_N[:, None]


def resampled(kept: Results, runs: int) -> Draw:
    """Runs of each task drawn from those that were kept of the first entry."""
    of_task: dict[str, list[bool]] = defaultdict(list)
    for row in kept.rows(kept.entries()[0]):
        of_task[row.task].append(row.passed)
    passed_NR = np.array(list(of_task.values()))
    return lambda rng: rng.permuted(passed_NR, axis=1)[:, :runs]


def worse(draw: Draw, points: float) -> Draw:
    """The same model after it lost so many points: passed attempts fail at random."""

    def drawn(rng: np.random.Generator) -> NDArray[np.bool_]:
        passed = draw(rng)
        lost: NDArray[np.bool_] = rng.random(passed.shape) < points / 100 / passed.mean()
        return passed & ~lost

    return drawn


def keep(folder: Path, passed_NR: NDArray[np.bool_]) -> Results:
    """Verdicts as results of one entry, "sums"."""
    results = Results(folder)
    results.add(
        AttemptRow(
            entry="sums",
            task=f"t{task:04d}",
            run=run,
            seed=run,
            passed=bool(passed),
            reward=float(passed),
            parts={"quality": float(passed)},
        )
        for (task, run), passed in np.ndenumerate(passed_NR)
    )
    return results


def rules(bound: float) -> GateConfig:
    """One of each kind, at its defaults; `bound` is the true rate."""
    figure = "sums/pass_rate"
    kinds = [
        {"kind": "at_least", "figure": figure, "bound": bound},
        {"kind": "at_most", "figure": "sums/truncated", "bound": 0.05},
        {"kind": "no_worse", "figure": figure},
        {"kind": "hardest", "figure": figure},
        {"kind": "front", "figures": [figure, "-sums/num_tokens"], "results": ["stored*"]},
    ]
    return GateConfig.model_validate({"rules": kinds})


def trials(
    before: Draw, after: Draw, number: int, gate: GateConfig
) -> Mapping[str, Counter[Verdict]]:
    """Verdicts of each kind of rule over so many fresh pairs."""
    told: dict[str, Counter[Verdict]] = defaultdict(Counter)
    for trial in range(number):
        rng = np.random.default_rng([11, trial])
        with tempfile.TemporaryDirectory() as scratch:
            home = Path(scratch)
            for place in range(STORED):
                keep(home / f"stored{place}", before(rng))
            pair = keep(home / "before", before(rng)), keep(home / "after", after(rng))
            _, rulings = decide(gate, pair[1], pair[0], home=home)
        for kind, ruling in by_kind(gate, rulings).items():
            told[kind][ruling] += 1
    return told


def by_kind(gate: GateConfig, rulings: list[Ruling]) -> dict[str, Verdict]:
    """The worst ruling of each rule, by its kind."""
    worst = (Verdict.PASS, Verdict.CANNOT_TELL, Verdict.FAIL)
    found = {rule.kind: Verdict.PASS for rule in gate.rules}
    for ruling in rulings:
        (kind,) = (rule.kind for rule in gate.rules if rule.title == ruling.rule)
        found[kind] = max(found[kind], ruling.verdict, key=worst.index)
    return found


def main() -> None:
    """Print what the rules say."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--attempts", type=Path, help="kept results with 16 runs or more")
    options.add_argument("--trials", type=int, default=200)
    options.add_argument("--tasks", type=int, default=200)
    options.add_argument("--runs", type=int, default=4)
    given = options.parse_args()
    if given.attempts:
        draw = resampled(Results(given.attempts), given.runs)
    else:
        draw = model(given.tasks, given.runs)
    truth = float(np.mean([draw(np.random.default_rng([3, n])).mean() for n in range(200)]))
    gate = rules(truth)
    print(f"a model that passes {truth:.3f}, {given.trials} trials")
    alike = trials(draw, draw, given.trials, gate)
    lost = trials(draw, worse(draw, 10), given.trials, gate)
    figures: dict[str, float] = {}
    print(f"{'rule':<10} against itself: fail, cannot tell, pass     ten points lost: the same")
    for kind in alike:
        shares = [
            told[kind][verdict] / given.trials
            for told in (alike, lost)
            for verdict in (Verdict.FAIL, Verdict.CANNOT_TELL, Verdict.PASS)
        ]
        print(f"{kind:<10} {'  '.join(f'{share:7.1%}' for share in shares)}")
        figures |= {f"{kind}_alarms": shares[0], f"{kind}_found": shares[3]}
    # nothing in the drop makes attempts longer or cut short: that rule has nothing to find
    found = [share for name, share in figures.items() if name.endswith("_found")]
    found.remove(figures["at_most_found"])
    alarms = max(share for name, share in figures.items() if name.endswith("_alarms"))
    met = alarms <= 0.05 and min(found) >= 0.8
    print(json.dumps({"alarms": alarms, "found": min(found), "met": met, **figures}))


if __name__ == "__main__":
    main()
