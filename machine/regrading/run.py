"""`munro regrade`: grade what a run stored again, keep it, tell what changed.

The same command goes on where it was interrupted, and tells again of what is whole.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from munro.envs.base import contain
from munro.envs.loader import resolve_config
from munro.machine.climb.models import in_place, settle
from munro.machine.climb.start import raw
from munro.machine.config import RunConfig
from munro.machine.loading import BadConfig, check, load, override
from munro.machine.regrading.again import WentOtherwise, grade_again
from munro.machine.regrading.kept import Kept, Regraded, told
from munro.machine.regrading.table import show
from munro.machine.regrading.tasks import NotThere, Tasks
from munro.machine.run.files import RunError
from munro.machine.run.folder import RunFolder
from munro.machine.run.lock import held_folder
from munro.rewards.errors import EpisodeError
from munro.rewards.service.setup import configure
from munro.rollout.problem.asking import Environments
from munro.rollout.store.store import RolloutStore, field
from munro.rollout.types import Attempt, Group

HOME = "regraded"
AT_ONCE = 32
"""Groups that are graded at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a person asked for.

    Example:
        Wanted(run="runs/stem", env="./stricter.py:Stricter")
    """

    run: str
    env: str = ""
    """Another environment, or which of the run's; empty for all of the run's."""
    recipe: str = ""
    """Whose environments, judges and rewards hold in the place of the run's."""
    out: str = ""
    first_step: int | None = None
    last_step: int | None = None


def run_regrade(asked: Wanted, overrides: Sequence[tuple[str, str]]) -> int:
    """Grade a stored run again; exit status 1 where a grade could not be had by now.

    Raises:
        RunError: there is no run, or it stored nothing.
        BadConfig: a key is wrong, or the environment knows none of the run's tasks.
        BadEnvironment: the environment cannot be loaded.
        StoreError: a stored step is damaged.
    """
    run = RunFolder.existing(asked.run)
    store = RolloutStore(run.rollouts)
    steps = _steps(run, store, asked)
    config = wanted_config(run, asked, overrides)
    settled = in_place(config, settle(config))
    try:
        configure(settled.rewards, settled.judge)
    except ValueError as error:
        raise BadConfig(str(error)) from error
    stored = {(row["env"], row["task_id"]) for row in store.scan(["env", "task_id"], steps=steps)}
    tasks = Tasks(settled.env, stored)
    if not any(tasks.knows(*one) for one in stored):
        env, first = min(stored)
        raise BadConfig(
            f"{', '.join(tasks.names)} knows none of the {len(stored)} tasks that {run.path} was "
            f"sampled on, such as {first!r} of {env}: name the environment that has them with "
            "--env, and what it needs with --env.args."
        )
    settings = _settings(config)
    where = Path(asked.out).expanduser() if asked.out else run.path / HOME / _name(tasks, settings)
    with held_folder(where, "give this one another folder with --out"):
        kept = Kept(where, settings)
        click.echo(f"{run.path}: {len(steps)} stored steps, by {', '.join(tasks.names)}; {where}")
        for name in tasks.endless:
            click.echo(f"{name}: its tasks do not end, so they are taken as they were stored")
        try:
            asyncio.run(_grade_all(store, steps, tasks, config, kept))
        finally:
            changes = kept.write_changes(_texts(store, steps, kept))
    show(kept.rows.values())
    num = sum(row.changed for row in kept.rows.values())
    click.echo(f"{num:,} grades changed: {changes}")
    failed = any(not row.is_final for row in kept.rows.values())
    if failed:
        click.echo("Run the same command again to try those without a grade once more.")
    return int(failed)


def wanted_config(run: RunFolder, asked: Wanted, overrides: Sequence[tuple[str, str]]) -> RunConfig:
    """The run's config, or a recipe's, with what was asked for in it.

    Raises:
        BadConfig: a key is wrong.
    """
    tree = json.loads(json.dumps(run.read_config() or {}))
    if asked.recipe:
        if asked.env:
            raise BadConfig("--config has environments of its own: leave --env out, or --config.")
        recipe = raw(load(asked.recipe))
        tree |= {key: recipe[key] for key in ("env", "judge", "rewards")}
    if asked.env:
        known = [one for one in tree.get("env", []) if asked.env in (one["path"], one.get("name"))]
        tree["env"] = dict(known[0]) if known else {"path": asked.env}
    elif len(tree.get("env", [])) == 1:
        tree["env"] = tree["env"][0]  # one table, whose keys can be overridden
    for key, value in overrides:
        override(tree, key, value)
    return check(tree, source="command line" if overrides else str(run.config_file))


def _steps(run: RunFolder, store: RolloutStore, asked: Wanted) -> list[int]:
    stored = store.steps()
    if not stored:
        raise RunError(f"{run.path} stored no rollouts: there is nothing to grade again.")
    first, last = asked.first_step or stored[0], asked.last_step or stored[-1]
    steps = [step for step in stored if first <= step <= last]
    if not steps:
        raise RunError(
            f"{run.path} stored steps {stored[0]} to {stored[-1]}, and none from {first} to {last}."
        )
    return steps


def _settings(config: RunConfig) -> dict[str, Any]:
    """Everything that decides a grade, as plain data."""
    tree = raw(config)
    envs = [resolve_config(env).model_dump(mode="json") for env in config.env]
    return {"env": envs, "rewards": tree["rewards"], "judge": tree["judge"]}


def _name(tasks: Tasks, settings: Mapping[str, Any]) -> str:
    digest = blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=3).hexdigest()
    names = "+".join(tasks.names).replace("/", "-")
    return f"{names[:40]}-{digest}"


async def _grade_all(
    store: RolloutStore, steps: Sequence[int], tasks: Tasks, config: RunConfig, kept: Kept
) -> None:
    contain(asyncio.get_running_loop())
    environments = Environments(tasks.environment, config.rollout)
    with _progress(len(steps)) as tick:
        for step in steps:
            groups = [
                group
                for group in store.read(step)
                if any(_trace(step, group, n) not in kept.rows for n in range(len(group.attempts)))
            ]
            await _grade_step(step, groups, tasks, environments, kept)
            tick()


async def _grade_step(
    step: int, groups: Sequence[Group], tasks: Tasks, environments: Environments, kept: Kept
) -> None:
    few = asyncio.Semaphore(AT_ONCE)

    async def one(group: Group) -> None:
        async with few:
            kept.add(await _graded(step, group, tasks, environments))

    await asyncio.gather(*map(one, groups))


async def _graded(
    step: int, group: Group, tasks: Tasks, environments: Environments
) -> list[Regraded]:
    """A group's attempts; those that could be graded are also held against each other again."""
    task = tasks.now(group.task)
    if isinstance(task, NotThere):
        return [_row(step, group, n, why=task.why) for n in range(len(group.attempts))]

    async def one(attempt: Attempt) -> Any:
        try:
            return await grade_again(environments, task, attempt.trajectory)
        except EpisodeError as failure:
            return failure

    found = await asyncio.gather(*map(one, group.attempts))
    done = [n for n, grade in enumerate(found) if not isinstance(grade, EpisodeError)]
    try:
        last = await environments.grade_group(
            task, [group.attempts[n].trajectory for n in done], [found[n] for n in done]
        )
        found = [*found]
        for n, grade in zip(done, last, strict=True):
            found[n] = grade
    except EpisodeError as failure:
        found = [failure] * len(group.attempts)
    return [
        _row(step, group, n, why=_why(grade), is_final=isinstance(grade, WentOtherwise))
        if isinstance(grade, EpisodeError)
        else _row(step, group, n, new=told(grade) | {"parts": dict(grade.parts)})
        for n, grade in enumerate(found)
    ]


def _why(failure: EpisodeError) -> str:
    if isinstance(failure, WentOtherwise):
        return "the environment answers its turns otherwise now"
    return f"{type(failure).__name__}: {' '.join(str(failure).split())}"


def _row(step: int, group: Group, number: int, **found: Any) -> Regraded:
    return Regraded(
        trace=_trace(step, group, number),
        env=group.task.env,
        task=group.task.id,
        old=told(group.attempts[number].grade),
        **found,
    )


def _trace(step: int, group: Group, number: int) -> str:
    return f"{step}/{group.index}/{number}"


def _texts(
    store: RolloutStore, steps: Sequence[int], kept: Kept
) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Name, prompt and reply of every attempt that changed."""
    changed = {trace for trace, row in kept.rows.items() if row.changed}
    having = sorted({int(trace.partition("/")[0]) for trace in changed} & set(steps))
    if not having:
        return
    columns = ["trace", "prompt", "reply"]
    for row in store.scan(columns, field("step").isin(having), steps=having):
        if row["trace"] in changed:
            yield row["trace"], {"prompt": row["prompt"], "reply": row["reply"]}


@contextmanager
def _progress(total: int) -> Iterator[Any]:
    with Progress(
        TextColumn("steps"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as progress:
        bar = progress.add_task("", total=total)
        yield lambda: progress.advance(bar)
