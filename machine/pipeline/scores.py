"""The last phase of a machine: pass rates of all its models on all its tasks.

    evals/MODEL/    every attempt of a model, as `munro eval` keeps them; the tasks of a climb are
                    an entry of its name
    results.json    {"base": {"stem": {"mean": 0.12, "low": 0.10, "high": 0.14, "tasks": 200,
                                       "above": {"final": {"mean": -0.7, ...}}}}}

A model's line is written when it is measured, so that an interrupted phase goes on with the next,
and from the attempts that it has. `above` is what a model is above another on the same tasks, with
the interval of the paired difference. Tasks that are paid behind a gate have its figure beside it:

    "gate": {"part": "policy/compliance", "mean": 0.98, "low": 0.96, "high": 0.99, "above": {...}}
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from munro.envs.problem_set import ProblemSet
from munro.envs.types import Task
from munro.evaluation.compare import compare
from munro.evaluation.figures import PASS_RATE, pass_rate, table_of
from munro.evaluation.page import write_page
from munro.evaluation.results import Results
from munro.evaluation.suite import Asked, make, wanted
from munro.machine.climb.cluster import start_fleet
from munro.machine.climb.models import in_place, settle
from munro.machine.config import RunConfig
from munro.machine.evaluating.plan import settings
from munro.machine.evaluating.source import Drawn, FleetSource
from munro.machine.loading import check
from munro.machine.pipeline.models import recorded, remember
from munro.machine.run.files import write_atomically

RESULTS = "results.json"
KEPT = "evals"
SCRATCH = "scratch-"

Scores = dict[str, dict[str, dict[str, Any]]]
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
        kept = _measured(orders, Path(model), folder, name)
        found[name] = rates(kept)
        write_atomically(path, json.dumps(found, indent=2) + "\n")
        told = ", ".join(f"{task} {rate['mean']:.3f}" for task, rate in found[name].items())
        click.echo(f"{name}: {told}")
    kept_all = {name: kept for name in found if (kept := Results(folder / KEPT / name)).entries()}
    for name, others in differences(kept_all).items():
        for task, above in others.items():
            found[name][task]["above"] = above
    for task, part in gates(orders["env"]).items():
        for name, gate in at_gate(kept_all, task, part).items():
            found[name][task]["gate"] = gate
    write_atomically(path, json.dumps(found, indent=2) + "\n")
    return found


def rates(kept: Results) -> dict[str, dict[str, Any]]:
    """Pass rates with intervals, of each climb's tasks."""
    return {
        entry: asdict(pass_rate(rows)) | {"tasks": len({row.task for row in rows})}
        for entry in kept.entries()
        for rows in [kept.rows(entry)]
    }


def gates(envs: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, str]:
    """Whose tasks are paid behind a gate, to the figure of a grade that is the gate."""
    found: dict[str, str] = {}
    for name, of in envs.items():
        for reward in (env.get("reward") for env in of):
            if isinstance(reward, Mapping) and reward.get("kind") == "gated":
                gate = reward["gate"]
                if isinstance(gate, str):
                    found.setdefault(name, gate)
    return found


def at_gate(kept: Mapping[str, Results], task: str, part: str) -> dict[str, dict[str, Any]]:
    """The gate's figure of every model on one climb's tasks, and what it is above the others."""
    above = differences(kept, figure=part, entry=task)
    return {
        name: {"part": part}
        | asdict(table_of(one.rows(task), part).estimate())
        | {"above": above[name].get(task, {})}
        for name, one in kept.items()
    }


def differences(
    kept: Mapping[str, Results], *, figure: str = PASS_RATE, entry: str = ""
) -> dict[str, dict[str, dict[str, Any]]]:
    """What each model is above each other: model, whose tasks, other model, to the difference."""
    found: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in kept}
    for other, first in kept.items():
        rest = [name for name in kept if name != other]
        results = [first, *(kept[name] for name in rest)]
        told = compare(results, figure=figure, entry=entry) if rest else []
        for number, one in enumerate(told):
            name = rest[number % len(rest)]  # entry by entry, in the order of the results
            above = {"mean": one.difference.mean, "low": one.difference.low}
            above |= {"high": one.difference.high, "tasks": one.num_tasks}
            found[name].setdefault(one.entry, {})[other] = above
    return found


def _measured(orders: Mapping[str, Any], model: Path, folder: Path, name: str) -> Results:
    config = _config(orders, model)
    models = settle(config, recorded(folder))
    remember(folder, models.found)
    config = in_place(config, models)
    for left in folder.glob(f"{SCRATCH}*"):  # by a process that was killed
        shutil.rmtree(left)
    kept = Results(folder / KEPT / name)
    drawn = by_owner(owners(orders["env"], config), config)
    asked = [
        Asked(
            name=owner,
            tasks=tuple(tasks),
            runs=config.eval.runs,
            seed=config.seed,
            settings=settings(config),
        )
        for owner, tasks in drawn.items()
    ]
    kept.begin({"model": {"name": str(model)}, "entries": {one.name: one.written for one in asked}})
    if any(wanted(kept, one) for one in asked):
        with (
            TemporaryDirectory(prefix=SCRATCH, dir=folder) as scratch,
            start_fleet(config, model, Path(scratch), learner=False) as fleet,
        ):
            cap = config.length.stages[0]
            entries = {owner: Drawn(tasks=tasks, cap=cap) for owner, tasks in drawn.items()}
            source = FleetSource(fleet.solvers, entries)
            for one in asked:
                make(kept, one, source)
    kept.require_whole()
    kept.summarise()
    write_page(kept)
    return kept


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


def by_owner(owner: Sequence[str], config: RunConfig) -> dict[str, dict[str, Task]]:
    """Held-out tasks by whose they are, and by the names that results know them by.

    Args:
        owner: whose tasks each of the environments holds, in their order.
        config: of the evaluation.
    """
    problems = ProblemSet(config.env, config.seed)
    whose = dict(zip(problems.names, owner, strict=True))
    found: dict[str, dict[str, Task]] = {name: {} for name in owner}
    for task in problems.held_out(config.eval.num_tasks):
        found[whose[task.env]][f"{task.env}/{task.id}"] = task
    return found
