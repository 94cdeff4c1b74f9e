"""An engine whose policy is an agent that does its work: reads, edits, runs tests, ends.

    munro climb RECIPE --rollout.engine benchmarks/agents/good.py:good --rollout.top_p 1.0

The recipe's environment is `swe`; the folders of its tasks stand in MUNRO_SWE_TASKS, with ":"
between them. What the agent knows beyond its prompt is the solution; it writes it with the tools
that every policy has. Its tokens are scored by the model that is served, so a learner trains on
them as on any policy's. Everything but the choice of tokens is the transformers engine.
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from munro.envs.swe import folders_in
from munro.envs.swe.folder import LAYERS, TaskFolder, read_folder, read_from
from munro.envs.types import KeptTokens
from munro.rewards.errors import PolicyError
from munro.rollout.config import RolloutConfig
from munro.rollout.engine import Completion, Request
from munro.rollout.transformers_engine import TransformersEngine

TASKS = "MUNRO_SWE_TASKS"
LINES_SEEN = 12
"""On either side of a place that it will edit."""
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


def work_on(task: TaskFolder, store: Path) -> Iterator[str]:
    """The turns of an agent that solves the task, the last of which says so."""
    layers = task.image(store).layers
    yield "Let me look around.\n" + call("bash", command="git log --oneline | head -3; ls")
    gold = task.gold(store)
    for path, contents in sorted(gold.items()):
        before = read_from(layers, path)
        if contents is None:
            yield call("bash", command=f"rm -- '{path}'")
        elif before is None:
            yield call(
                "str_replace_editor", command="create", path=path, file_text=contents.decode()
            )
        else:
            yield from _edited(path, before.decode(), contents.decode())
    tests = sorted({name.partition("::")[0] for name in task.pass_to_pass})
    seen = [path for path in tests if read_from(layers, path) is not None]
    asked = f"python3 -m pytest -q {seen[0]}" if seen else "python3 -m compileall -q ."
    yield "Does it hold?\n" + call("bash", command=f"{asked} 2>&1 | tail -n 4")
    yield "It is done."


def _edited(path: str, before: str, after: str) -> Iterator[str]:
    """Look at each place of a file that is to change, and change it; the last place first."""
    lines, wanted = before.splitlines(keepends=True), after.splitlines(keepends=True)
    blocks = difflib.SequenceMatcher(a=lines, b=wanted, autojunk=False).get_opcodes()
    for kind, first, last, start, end in reversed(blocks):
        if kind == "equal":
            continue
        text, around = "".join(lines), 0
        while True:
            top, bottom = max(first - around, 0), min(last + around, len(lines))
            old = "".join(lines[top:bottom])
            if old and text.count(old) == 1:
                break
            around += 1
        new = "".join([*lines[top:first], *wanted[start:end], *lines[last:bottom]])
        shown = [max(top + 1 - LINES_SEEN, 1), min(bottom + LINES_SEEN, len(lines))]
        yield call("str_replace_editor", command="view", path=path, view_range=shown)
        yield call("str_replace_editor", command="str_replace", path=path, old_str=old, new_str=new)
        lines[first:last] = wanted[start:end]


def call(name: str, **arguments: Any) -> str:
    """A call in the Hermes form, whose arguments cannot close it."""
    said = json.dumps({"name": name, "arguments": arguments}).replace("</", "<\\/")
    return f"<tool_call>{said}</tool_call>"
