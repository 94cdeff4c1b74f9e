"""An engine whose policy is an agent that does its work: reads, edits, runs tests, ends.

    munro climb RECIPE --rollout.engine benchmarks/agents/good.py:good --rollout.top_p 1.0

The recipe's environment is `swe`; the folders of its tasks stand in MUNRO_SWE_TASKS, with ":"
between them. What the agent knows beyond its prompt is the solution; it writes it with the tools
that every policy has (`writing`).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from agent_work import work_on  # beside this file, whose folder a plug-in can import from
from writing import Writing

from munro.envs.swe import folders_in
from munro.envs.swe.folder import LAYERS, read_folder
from munro.rewards.errors import PolicyError
from munro.rollout.config import RolloutConfig
from munro.rollout.engine import Request

TASKS = "MUNRO_SWE_TASKS"
LAZY = 4
"""One attempt in so many says at once that it is done, so that there is something to learn."""


def good(model: str, config: RolloutConfig, *, seed: int, max_context: int, **_: Any) -> GoodAgent:
    """Start it; see `munro.rollout.engine.ENGINES`."""
    return GoodAgent(model, config, seed=seed, max_context=max_context)


class GoodAgent(Writing):
    """Writes the turns of `work_on`."""

    def __init__(self, model: str, config: RolloutConfig, *, seed: int, max_context: int) -> None:
        super().__init__(model, config, seed=seed, max_context=max_context)
        self._turns: dict[str, list[str]] = {}
        for top in map(Path, os.environ[TASKS].split(":")):
            for folder in folders_in(top):
                task = read_folder(folder)
                self._turns[task.statement.strip()] = list(work_on(task, folder.parent / LAYERS))
        self._chosen: dict[tuple[int, ...], list[str]] = {}

    def turn_of(self, request: Request) -> str:
        """The turn of that number; the last one once more where there is none."""
        turns = self._of(request)
        if request.key[1] % LAZY == LAZY - 1:
            turns = turns[-1:]
        return turns[min(request.key[-1], len(turns) - 1)]

    def _of(self, request: Request) -> list[str]:
        """The turns of the task that the prompt asks for."""
        attempt = request.key[:2]
        if attempt not in self._chosen:
            prompt = self.tokenizer.decode(list(request.prompt_ids))
            found = [turns for statement, turns in self._turns.items() if statement in prompt]
            if len(found) != 1:
                raise PolicyError(
                    f"{len(found)} tasks of {TASKS} are asked for by {prompt[:200]!r}"
                )
            self._chosen[attempt] = found[0]
        return self._chosen[attempt]
