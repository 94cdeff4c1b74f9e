"""The last phase of a machine: pass rates of all its models on all its tasks.

    results.json    {"base": {"stem": {"mean": 0.12, "low": 0.10, "high": 0.14, "tasks": 200}}}

A model's line is written when it is measured, so that an interrupted phase goes on with the next.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from munro.envs.problem_set import ProblemSet
from munro.evaluation.statistics import pass_at_1
from munro.machine.climb.cluster import start_fleet
from munro.machine.climb.evaluate import verdicts
from munro.machine.climb.models import in_place, settle
from munro.machine.config import RunConfig
from munro.machine.loading import check
from munro.machine.pipeline.models import recorded, remember
from munro.machine.run.files import write_atomically
from munro.rollout.types import Attempt

RESULTS = "results.json"
SCRATCH = "scratch-"

Scores = dict[str, dict[str, dict[str, float]]]
"""Model, to whose tasks, to figures."""


def score(orders: Mapping[str, Any], models: Mapping[str, str], folder: Path) -> Scores:
    """Measure every model that has no line in `results.json` yet; all lines.

    Args:
        orders: "recipe" (sampling), "env" (whose tasks to environments), "most_tokens", "tasks"
            (of each), "runs" (attempts at each task).
        models: name to checkpoint.
        folder: of the phase.
    """
    path = folder / RESULTS
    found: Scores = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for name, model in models.items():
        if name in found:
            continue
        found[name] = _measured(orders, Path(model), folder)
        write_atomically(path, json.dumps(found, indent=2) + "\n")
        rates = ", ".join(f"{task} {rate['mean']:.3f}" for task, rate in found[name].items())
        click.echo(f"{name}: {rates}")
    return found


def _measured(orders: Mapping[str, Any], model: Path, folder: Path) -> dict[str, dict[str, float]]:
    config = _config(orders, model)
    models = settle(config, recorded(folder))
    remember(folder, models.found)
    config = in_place(config, models)
    for left in folder.glob(f"{SCRATCH}*"):  # by a process that was killed
        shutil.rmtree(left)
    with (
        TemporaryDirectory(prefix=SCRATCH, dir=folder) as scratch,
        start_fleet(config, model, Path(scratch), learner=False) as fleet,
    ):
        attempts = fleet.solvers.evaluate(config.eval, config.length.stages[0])
    return by_tasks(attempts, owners(orders["env"], config), config)


def _config(orders: Mapping[str, Any], model: Path) -> RunConfig:
    """The first climb's recipe, on everybody's environments in equal parts."""
    envs = [dict(env) | {"weight": 1.0} for of in orders["env"].values() for env in of]
    recipe = dict(orders["recipe"]) | {"env": envs, "folder": str(model.parent)}
    recipe["model"] = {"path": str(model)}
    recipe["length"] = {"stages": [orders["most_tokens"]]}
    recipe["eval"] = {"num_tasks": orders["tasks"] * len(envs), "runs": orders["runs"]}
    config = check(recipe, source="evaluation")
    rollout = config.rollout.model_copy(update={"workers": 1})
    return config.model_copy(update={"rollout": rollout})


def owners(envs: Mapping[str, Sequence[Any]], config: RunConfig) -> list[str]:
    """Whose tasks each of the environments holds, in their order."""
    found = [name for name, of in envs.items() for _ in of]
    assert len(found) == len(config.env)
    return found


def by_tasks(
    attempts: Sequence[Sequence[Attempt]], owner: Sequence[str], config: RunConfig
) -> dict[str, dict[str, float]]:
    """Pass rates with intervals, of each owner's tasks.

    Args:
        attempts: at the held-out tasks, in their order.
        owner: whose tasks the environments hold.
        config: which the attempts were made with.
    """
    problems = ProblemSet(config.env, config.seed)
    whose = dict(zip(problems.names, owner, strict=True))
    tasks = problems.held_out(config.eval.num_tasks)
    found: dict[str, dict[str, float]] = {}
    for name in dict.fromkeys(owner):
        own = [
            attempt
            for task, attempt in zip(tasks, attempts, strict=True)
            if whose[task.env] == name
        ]
        estimate = pass_at_1(verdicts(own))
        found[name] = {
            "mean": estimate.mean,
            "low": estimate.low,
            "high": estimate.high,
            "tasks": len(own),
        }
    return found
