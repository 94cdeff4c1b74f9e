"""The first phase of a machine: a base, made on the spot or by `munro pretrain`."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from munro.base_model.checkpoint import Checkpoint
from munro.base_model.config import BaseConfig
from munro.base_model.small.corpus import worked
from munro.base_model.small.machine_base import build_machine_base
from munro.base_model.small.machine_corpus import Beginning, BeginningsConfig
from munro.base_model.training.phases import train
from munro.base_model.training.pretrain import OnMetrics
from munro.base_model.training.recipe import PretrainRecipe
from munro.envs.arithmetic import is_held_out
from munro.envs.base import Environment, call
from munro.envs.check.playing import Played, played, shown
from munro.envs.config import EnvConfig
from munro.envs.loader import BadEnvironment, load_config
from munro.envs.types import Task

MOST_TASKS = 4000
"""Of one environment that the base sees the beginnings of."""
MOST_CONVERSATIONS = 2000
"""The same, of one whose tasks take many turns: each is played twice."""
SUM = re.compile(r"\d+( \+ \d+)+")


def make_base(orders: Mapping[str, Any], folder: Path, on_progress: OnMetrics) -> Checkpoint:
    """Train a small base on the beginnings of the environments' training tasks.

    Raises:
        BadEnvironment: an environment cannot be loaded or knows no replies to its own tasks.
    """
    kinds = [
        beginnings(EnvConfig.model_validate(env)) for envs in orders["env"].values() for env in envs
    ]
    return build_machine_base(
        BaseConfig.model_validate(orders["base"]),
        BeginningsConfig.model_validate(orders["beginnings"]),
        kinds,
        folder=folder,
        is_held_out=is_held_out,
        on_progress=on_progress,
    )


def make_pretrained(
    orders: Mapping[str, Any], folder: Path, on_metrics: Callable[[str, Any], None]
) -> Checkpoint:
    """Train all phases of a pre-training recipe; see `munro.base_model.training.phases.train`."""
    recipe = PretrainRecipe.model_validate(orders["recipe"])
    return train(recipe, folder, on_metrics=on_metrics, note=click.echo)


def beginnings(config: EnvConfig) -> list[Beginning]:
    """Tasks of an environment's training split, each done with care and carelessly.

    A sum is done with care column by column, and carelessly at once. Of any other task the known
    reply is the careful one; the careless one is what the environment calls so, else the known
    reply to another task. A task of many turns is played: with care as its gold policy does,
    carelessly as if another task had been asked.

    Raises:
        BadEnvironment: no task has a known reply.
    """
    environment = load_config(config)
    tasks = environment.tasks("train")
    if conversations := asyncio.run(_conversations(environment, tasks)):
        return conversations
    known = [
        (task, reply)
        for task, _ in zip(tasks, range(MOST_TASKS), strict=False)
        if isinstance(reply := environment.gold_reply(task), str)
    ]
    if not known:
        raise BadEnvironment(
            f"{config.path}: gold_reply() knows no reply to any task, so a base cannot be shown "
            "beginnings of them."
        )
    others, draws = random.Random(0), random.Random(1)
    return [
        _beginning(environment, task, reply, others.choice(known)[1], draws.random())
        for task, reply in known
    ]


async def _conversations(environment: Environment, tasks: Iterable[Task]) -> list[Beginning]:
    """Of an environment with a gold policy; none otherwise."""
    known = []
    for task, _ in zip(tasks, range(MOST_CONVERSATIONS), strict=False):
        policy = await call(environment.gold_policy, task)
        if policy is None:
            return []
        done = await played(environment, task, policy)
        known.append((task, done))
    rng = random.Random(0)
    found = []
    for task, done in known:
        another = rng.choice(known)[1]
        careless = await played(environment, task, another.said)
        prompt = "\n".join(message.content for message in task.messages) + "\n"
        found.append(Beginning(prompt=prompt, careful=_turns(done), careless=_turns(careless)))
    return found


def _turns(done: Played) -> tuple[str, ...]:
    """What is read up to the end of each turn, as the template "plain" has it."""
    turns, between = [], ""
    for message in done.trajectory.messages:
        if message.role == "assistant":
            turns.append((f"{between}\n" if between else "") + shown(message))
            between = ""
        else:
            between += f"\n{message.content}"
    return tuple(turns)


def _beginning(
    environment: Environment, task: Task, reply: str, another: str, draw: float
) -> Beginning:
    prompt = "\n".join(message.content for message in task.messages) + "\n"
    care = CAREFUL.get(environment.name)
    if care is not None and (careful := care(prompt)):
        return Beginning(prompt=prompt, careful=careful, careless=reply)
    careless = environment.careless_reply(task, draw)
    return Beginning(
        prompt=prompt, careful=reply, careless=another if careless is None else careless
    )


def _columns(prompt: str) -> str:
    """A sum column by column; empty for another problem."""
    found = SUM.search(prompt)
    return worked([int(number) for number in found[0].split(" + ")]) if found else ""


CAREFUL: Mapping[str, Callable[[str], str]] = {"arithmetic": _columns}
"""Environments whose bare answer is out of reach of a small model that does not work it out."""
