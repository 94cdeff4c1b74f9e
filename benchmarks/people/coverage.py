"""How often the intervals of `munro sides report` hold the truth. Raters here are simulated.

    python benchmarks/people/coverage.py [--draws 400]

A rater's score is a preference, plus what the task, the rater and the left side are worth, plus
noise, on seven points from -1.5 to 1.5. The truth is that of all tasks and all raters of the kind,
by the normal distribution's own formula. Exits with 1 where under 93% of the intervals hold it, or
where a left bias of 0.2 is not found or moves the preference.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from munro.evaluation.sides.assign import Design, assign
from munro.evaluation.sides.figures import Sample, fitted
from munro.evaluation.sides.types import SCALE

BAR = 0.93
LEFT = 0.2


@dataclass(frozen=True)
class World:
    """What scores are made of, as standard deviations."""

    name: str
    tasks: int
    raters: int
    task_sd: float
    rater_sd: float
    noise_sd: float = 0.5
    left: float = LEFT
    rater_left_sd: float = 0.1
    preference: float = 0.15

    @property
    def spread(self) -> float:
        parts = (self.task_sd, self.rater_sd, self.noise_sd, self.rater_left_sd)
        return math.sqrt(sum(part**2 for part in parts))

    def truth(self) -> tuple[float, float]:
        """Preference and left bias as seven points show them."""
        with_left, against = (
            _mean_on_scale(self.preference + sign * self.left, self.spread) for sign in (1, -1)
        )
        return (with_left + against) / 2, (with_left - against) / 2


WORLDS = (
    World("raters alike", 120, 9, 0.6, 0.0),
    World("raters differ", 120, 9, 0.6, 0.3),
    World("raters differ widely", 120, 9, 0.3, 0.6),
    World("few raters, every pair", 120, 3, 0.6, 0.3),
    World("many raters", 200, 30, 0.6, 0.3),
    World("few tasks", 20, 6, 0.6, 0.3),
    World("tasks alike", 120, 9, 0.0, 0.3),
    World("no preference", 120, 9, 0.6, 0.3, preference=0.0),
)


def _mean_on_scale(mean: float, sd: float) -> float:
    """Of a normal score, rounded to the nearest of the seven points."""
    edges = [(low + high) / 2 for low, high in pairwise(SCALE)]
    below = [0.5 * (1 + math.erf((edge - mean) / sd / math.sqrt(2))) for edge in edges]
    shares = np.diff([0.0, *below, 1.0])
    return float((np.array(SCALE) * shares).sum())


def sample_of(world: World) -> Sample:
    """The assignment, as columns."""
    lists = assign(Design(pairs=world.tasks, raters=world.raters, again=0, checks=0))
    looks = [(look.pair, rater, look.a_left) for rater, own in enumerate(lists) for look in own]
    task, rater, a_left = (np.array(column) for column in zip(*looks, strict=True))
    return Sample(
        side=np.where(a_left, -1.0, 1.0),
        weight=1 / np.bincount(task)[task],
        task=task,
        rater=rater,
    )


def draw(world: World, sample: Sample, chosen: np.random.Generator) -> np.ndarray:
    """Scores of one study."""
    task = chosen.normal(0, world.task_sd, world.tasks)[sample.task]
    rater = chosen.normal(0, world.rater_sd, world.raters)[sample.rater]
    own_left = chosen.normal(0, world.rater_left_sd, world.raters)[sample.rater]
    noise = chosen.normal(0, world.noise_sd, len(task))
    score = world.preference + task + rater + (world.left + own_left) * sample.side + noise
    return np.clip(np.round(score * 2) / 2, SCALE[0], SCALE[-1])


def main() -> int:
    """Print a line a world."""
    parser = argparse.ArgumentParser(description="coverage of a study's intervals")
    parser.add_argument("--draws", type=int, default=400, help="studies of each world")
    args = parser.parse_args()
    low = False
    print(f"{'simulated raters':<24} tasks raters  holds  width | left: holds  found  mean")
    for number, world in enumerate(WORLDS):
        chosen, sample = np.random.default_rng(number), sample_of(world)
        truth, left_truth = world.truth()
        found = [fitted(draw(world, sample, chosen), sample) for _ in range(args.draws)]
        held = np.mean([one.low <= truth <= one.high for one, _ in found])
        width = np.mean([one.high - one.low for one, _ in found])
        left_held = np.mean([left.low <= left_truth <= left.high for _, left in found])
        left_found = np.mean([left.low > 0 for _, left in found])
        left_mean = np.mean([left.mean for _, left in found])
        moved = np.mean([one.mean for one, _ in found]) - truth
        error = np.std([one.mean for one, _ in found]) / math.sqrt(args.draws)
        low = low or held < BAR or left_held < BAR or abs(moved) > 4 * error
        print(
            f"{world.name:<24} {world.tasks:5} {world.raters:6}  {held:.3f}  {width:.3f} |"
            f" {left_held:.3f}  {left_found:.3f}  {left_mean:.3f} of {left_truth:.3f};"
            f" preference off by {moved:+.4f} +- {error:.4f}",
            flush=True,
        )
    return int(low)


if __name__ == "__main__":
    sys.exit(main())
