"""Runs with traces of sums, without the climb, and bases that can learn them."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from munro.base_model.checkpoint import Checkpoint
from munro.base_model.model.model import MunroForCausalLM
from munro.base_model.small.corpus import worked
from munro.base_model.small.quickstart import new_model
from munro.distill.config import DistillConfig
from munro.distill.sources import Source
from munro.distill.traces import Trace
from munro.envs.types import Ending, KeptTokens, Message, Task, Trajectory
from munro.rewards.combine.compose import RewardBreakdown
from munro.rewards.types import Grade
from munro.rollout.render import renderer
from munro.rollout.store.store import RolloutStore
from munro.rollout.types import Attempt, Group
from tests.base_model.builders import small_base, small_tokenizer
from tests.base_model.tiny_munro import tiny_config

Reply = Callable[[Sequence[int], int], str]
"""From the numbers of a sum and the attempt to what was said."""


def worked_out(numbers: Sequence[int], attempt: int) -> str:
    """Right and worked; every second attempt is off by one."""
    return worked(numbers) if attempt % 2 == 0 else f"{sum(numbers) + attempt}"


def make_base(folder: Path, kind: str = "dense", **options: Any) -> Checkpoint:
    """An untrained Llama or model of ours, with the tokenizer of the traces."""
    torch.manual_seed(0)
    tokenizer = small_tokenizer()
    if kind == "dense":
        model = new_model(small_base().model, tokenizer)
    else:
        config = tiny_config(sizes={"vocab_size": len(tokenizer)}, **options)
        model = MunroForCausalLM(config)
    return Checkpoint.write(folder, model=model, tokenizer=tokenizer, provenance={"made": "here"})


def make_attempt(
    task: Task,
    reply: str,
    *,
    template: str = "plain",
    ending: Ending = Ending.ANSWERED,
    parts: dict[str, float] | None = None,
    solved: bool | None = None,
) -> Attempt:
    """One turn, in tokens as an engine would give them."""
    tokenizer = small_tokenizer()
    opening = renderer(tokenizer, template).opening(task.messages)  # type: ignore[arg-type]
    ids = tokenizer.encode(reply, add_special_tokens=False)
    ids += [tokenizer.eos_token_id] if ending is Ending.ANSWERED else []
    sampled = np.array([False] * len(opening) + [True] * len(ids))
    if solved is None:
        solved = reply.split()[-1:] == [task.payload["answer"]]
    return Attempt(
        trajectory=Trajectory(
            token_ids=np.array([*opening, *ids], np.int32),
            sampled=sampled,
            behaviour_logp=np.where(sampled, -0.5, 0).astype(np.float32),
            kept=KeptTokens.nothing(len(sampled)),
            versions=np.where(sampled, 0, -1).astype(np.int32),
            ending=ending,
            messages=(Message(role="assistant", content=reply),),
            reply=reply,
        ),
        grade=Grade(reward=float(solved), passed=solved, parts=parts or {}),
        reward=RewardBreakdown(task=float(solved), total=float(solved)),
    )


def sum_task(numbers: Sequence[int]) -> Task:
    problem = "+".join(map(str, numbers))
    prompt = f"What is {' + '.join(map(str, numbers))}?"
    return Task(id=problem, prompt=prompt, payload={"answer": str(sum(numbers))}, env="arithmetic")


def make_run(
    path: Path,
    *,
    steps: int = 4,
    groups: int = 3,
    size: int = 4,
    reply: Reply = worked_out,
    template: str = "plain",
    seed: int = 0,
) -> Path:
    """A run's folder with nothing but rollouts."""
    rng = random.Random(seed)
    store = RolloutStore(path / "rollouts")
    for step in range(1, steps + 1):
        made = []
        for place in range(groups):
            numbers = [rng.randrange(10, 100) for _ in range(2)]
            task = sum_task(numbers)
            attempts = tuple(
                make_attempt(task, reply(numbers, at), template=template) for at in range(size)
            )
            made.append(
                Group(
                    index=step * groups + place,
                    task=task,
                    attempts=attempts,
                    early_pass_rate=0.5,
                )
            )
        store.write(step, made, [[0.0] * size for _ in made])
    return path


def source(run: Path, **fields: Any) -> Source:
    return Source(run=run, name=run.name, **fields)


def quick(**changes: Any) -> DistillConfig:
    """A distillation that takes a second or two; tables of `changes` are laid over."""
    training = {
        "batch_rows": 2,
        "row_tokens": 64,
        "log_every": 1,
        "checkpoint_every": 2,
        "threads": 1,
        "optimizer": {"learning_rate": 1e-3},
    }
    changes = dict(changes)
    training |= changes.pop("training", {})
    filters = {"duplicates": False} | changes.pop("filters", {})
    return DistillConfig.model_validate({"training": training, "filters": filters, **changes})


def make_trace(reply: str = "7+5=12 12", *, attempt: int = 0, **fields: Any) -> Trace:
    """A trace with boring defaults, as the store would give it."""
    task = sum_task([7, 5])
    defaults: dict[str, Any] = {
        "row": attempt,
        "name": f"run:1/0/{attempt}",
        "env": "arithmetic",
        "task": {
            "id": task.id,
            "messages": [{"role": "user", "content": task.messages[0].content}],
            "tools": [],
        },
        "messages": (Message(role="assistant", content=reply),),
        "reply": reply,
        "ending": "answered",
        "solved": True,
        "parts": {},
        "reward": 1.0,
        "token_ids": np.array([1, 2, 3], np.int32),
        "sampled": np.array([False, True, True]),
    }
    return Trace(**(defaults | fields))
