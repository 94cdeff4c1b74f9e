"""Synthetic ladders: runs whose law, gain and noise are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from munro.base_model.results import ONLY_LOSS, TrainedRun
from munro.base_model.scaling.law import PowerLaw

LAW = PowerLaw(8e3, 0.2, 1.6)
"""About 3.6 at 1e18 and 2.4 at 1e20."""
FEW = (1e18, 5e18, 2e19, 1e20)


def costs(rungs: int) -> NDArray[np.float64]:
    """Evenly spread over two decades."""
    return np.geomspace(1e18, 1e20, rungs)


@dataclass(frozen=True)
class Idea:
    """What a candidate truly gains at the smallest cost, and the factor on that a decade later."""

    gain: float = 1.0
    per_decade: float = 1.0

    def gains(self, at: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.gain * self.per_decade ** np.log10(at / 1e18)


def losses(
    at: NDArray[np.float64], idea: Idea, noise: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """What this idea's runs come to."""
    return LAW.loss(at * idea.gains(at)) * np.exp(noise * rng.standard_normal(len(at)))


def ladder(
    ideas: Mapping[str, Idea], *, rungs: int = 5, noise: float = 0.0, seed: int = 0
) -> list[TrainedRun]:
    """A baseline and these candidates, on one set each of code and mathematics."""
    rng, at = np.random.default_rng(seed), costs(rungs)
    runs = []
    for name, idea in {"baseline": Idea(), **ideas}.items():
        code, math = (losses(at, idea, noise, rng) for _ in range(2))
        runs += [
            TrainedRun(
                name=name,
                rung=f"R{number}",
                flops=float(cost),
                seconds=float(cost) / 1e15,
                losses={"code/a": float(code[number]), "math/b": float(math[number])},
            )
            for number, cost in enumerate(at)
        ]
    return runs


def single(ideas: Mapping[str, Idea], **how: Any) -> list[TrainedRun]:
    """The same runs with one loss each, and no times."""
    return [
        replace(run, seconds=None, losses={ONLY_LOSS: run.losses["code/a"]})
        for run in ladder(ideas, **how)
    ]
