"""An engine whose policy is an agent that does its work: reads, edits, runs tests, ends.

    munro climb RECIPE --rollout.engine benchmarks/agents/good.py:good --rollout.top_p 1.0

The recipe's environment is `swe`; the folders of its tasks stand in MUNRO_SWE_TASKS, with ":"
between them. What the agent knows beyond its prompt is the solution; it writes it with the tools
that every policy has. Its tokens are scored by the model that is served, so a learner trains on
them as on any policy's. Everything but the choice of tokens is the transformers engine.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from agent_work import work_on  # beside this file, whose folder a plug-in can import from

from munro.envs.swe import folders_in
from munro.envs.swe.folder import LAYERS, read_folder
from munro.envs.types import KeptTokens
from munro.rewards.errors import PolicyError
from munro.rollout.config import RolloutConfig
from munro.rollout.engine import Completion, Request
from munro.rollout.transformers_engine import TransformersEngine

TASKS = "MUNRO_SWE_TASKS"
LAZY = 4
"""One attempt in so many says at once that it is done, so that there is something to learn."""


def good(model: str, config: RolloutConfig, *, seed: int, max_context: int, **_: Any) -> GoodAgent:
    """Start it; see `munro.rollout.engine.ENGINES`."""
    return GoodAgent(model, config, seed=seed, max_context=max_context)


class GoodAgent(TransformersEngine):
    """Writes the turns of `work_on` in place of what it would sample."""

    def __init__(self, model: str, config: RolloutConfig, *, seed: int, max_context: int) -> None:
        from transformers import AutoTokenizer

        super().__init__(model, config, seed=seed, max_context=max_context)
        if config.top_p < 1 or config.temperature != 1:
            raise PolicyError("the good agent draws nothing: set rollout.top_p = 1.0")
        self._tokenizer = AutoTokenizer.from_pretrained(model)
        self._turns: dict[str, list[str]] = {}
        for top in map(Path, os.environ[TASKS].split(":")):
            for folder in folders_in(top):
                task = read_folder(folder)
                self._turns[task.statement.strip()] = list(work_on(task, folder.parent / LAYERS))
        self._chosen: dict[tuple[int, ...], list[str]] = {}

    def _generate(self, requests: Sequence[Request]) -> list[Completion]:
        return [self._written(request) for request in requests]

    @torch.inference_mode()
    def _written(self, request: Request) -> Completion:
        turns = self._of(request)
        if request.key[1] % LAZY == LAZY - 1:
            turns = turns[-1:]
        said = turns[min(request.key[-1], len(turns) - 1)]
        ids = self._tokenizer.encode(said, add_special_tokens=False)
        ids = [*ids, request.stop_token_ids[-1]][: request.max_tokens]
        whole = torch.tensor([[*request.prompt_ids, *ids]], device=self._model.device)
        logits_TV = self._model(whole, logits_to_keep=len(ids) + 1).logits[0, :-1]
        logp_TV = logits_TV.float().log_softmax(-1)
        logp_T = logp_TV.gather(-1, whole[0, -len(ids) :, None]).squeeze(-1)
        return Completion(
            token_ids=np.array(ids, np.int32),
            logp=logp_T.cpu().numpy(),
            kept=KeptTokens.nothing(len(ids)),
            versions=np.full(len(ids), self._version, np.int32),
            stopped=ids[-1] == request.stop_token_ids[-1],
        )

    def _of(self, request: Request) -> list[str]:
        """The turns of the task that the prompt asks for."""
        attempt = request.key[:2]
        if attempt not in self._chosen:
            prompt = self._tokenizer.decode(list(request.prompt_ids))
            found = [turns for statement, turns in self._turns.items() if statement in prompt]
            if len(found) != 1:
                raise PolicyError(
                    f"{len(found)} tasks of {TASKS} are asked for by {prompt[:200]!r}"
                )
            self._chosen[attempt] = found[0]
        return self._chosen[attempt]
