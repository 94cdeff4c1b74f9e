"""An engine whose policy calls the tools of the smallest worlds as gold does.

    munro climb RECIPE --rollout.engine benchmarks/agents/caller.py:caller --rollout.top_p 1.0

The recipe's one environment is `world` with `level = 1`.
"""

from __future__ import annotations

from typing import Any

from writing import Writing  # beside this file, whose folder a plug-in can import from

from munro.envs.config import EnvConfig
from munro.envs.loader import load_config
from munro.envs.problem_set import ProblemSet
from munro.rollout.config import RolloutConfig
from munro.rollout.engine import Request

LEVEL_1 = EnvConfig(path="world", args={"level": 1})
LAZY = 4
"""One attempt in so many says at once that it is done, so that there is something to learn."""
DONE = "done"


def caller(model: str, config: RolloutConfig, *, seed: int, max_context: int, **_: Any) -> Caller:
    """Start it; see `munro.rollout.engine.ENGINES`."""
    return Caller(model, config, seed=seed, max_context=max_context)


class Caller(Writing):
    """Knows each problem by its number, and its gold turns."""

    def __init__(self, model: str, config: RolloutConfig, *, seed: int, max_context: int) -> None:
        super().__init__(model, config, seed=seed, max_context=max_context)
        self._environment = load_config(LEVEL_1)
        self._problems = ProblemSet([LEVEL_1], seed)

    def turn_of(self, request: Request) -> str:
        """The gold turn of that number."""
        problem, attempt, _, turn = request.key[-4:]
        if attempt % LAZY == LAZY - 1:
            return DONE
        policy = self._environment.gold_policy(self._problems.task(problem))
        said = [policy(()) for _ in range(turn + 1)]
        return str(said[-1])
