"""Several runs of a harness against one address, and what they say together.

run 0, 1, ... R-1 ──► each with its own seed, in a folder of its own ──► rows ──► are they copies?

A run that is whole is not made again: the same command goes on with the next. What a harness calls
a task is an entry here, and its samples are the tasks.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol

from munro.envs.types import Ending
from munro.evaluation.harness import HARNESSES
from munro.evaluation.independence import copies, table
from munro.evaluation.job import BadHarness, Harness, Job, NoSamples
from munro.evaluation.process import run, version_of
from munro.evaluation.suite import seed_of
from munro.evaluation.types import AttemptRow
from munro.rewards.serving.server import last_words

DONE = "done.json"
LOG = "log.txt"


class Place(Protocol):
    """An address, as `munro.evaluation.serve.Address` is."""

    @property
    def base_url(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def key(self) -> str: ...
    @property
    def is_alive(self) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a harness is to run.

    Example:
        Order(harness="lm-eval", tasks=("sums",), include="tasks", runs=4)
    """

    harness: str
    """Its name, `module:Class` or `file.py:Class`."""
    tasks: tuple[str, ...]
    runs: int = 4
    seed: int = 0
    """From which every run's own follows."""
    temperature: float = 1.0
    top_p: float = 0.97
    max_tokens: int = 1024
    limit: int = 0
    concurrent: int = 16
    include: str = ""
    python: str = ""
    """Interpreter that has the harness; empty for this one."""
    options: tuple[str, ...] = ()

    def checked(self) -> Harness:
        """The harness, once the order makes sense.

        Raises:
            BadHarness: it does not; says how to mend it.
        """
        kind: Harness = HARNESSES.find(self.harness)()
        if not self.tasks:
            raise BadHarness(f"--harness {self.harness} needs --tasks: which are to be run?")
        twice = [task for task in self.tasks if self.tasks.count(task) > 1]
        if twice:
            raise BadHarness(f"--tasks names {twice[0]} more than once.")
        if self.runs < 1:
            raise BadHarness(f"--runs {self.runs}: give 1 or more.")
        if self.temperature < 0:
            raise BadHarness(f"--temperature {self.temperature:g}: give 0 or more.")
        if self.runs > 1 and self.temperature == 0:
            raise BadHarness(
                f"--runs {self.runs} at temperature 0 asks for the same answers {self.runs} times "
                "and says nothing of how they vary: give --runs 1, or a --temperature above 0."
            )
        if said := kind.refusal(self.tasks):
            raise BadHarness(said)
        python = self.python or sys.executable
        try:
            version = version_of(python, kind.distribution)
        except OSError as error:
            raise BadHarness(f"--harness-python {python} cannot be run: {error}") from error
        if not version:
            raise BadHarness(
                f"{python} has no {kind.distribution}: pip install {kind.distribution} there, or "
                "name an interpreter that has it by --harness-python."
            )
        return kind


def attempts(
    order: Order,
    address: Place,
    folder: Path,
    say: Callable[[str], None] = lambda _: None,
    *,
    looks_every_s: float = 5.0,
) -> list[AttemptRow]:
    """All rows of all runs.

    Args:
        order: what to run.
        address: where.
        folder: for logs, a folder a run; those that are whole already are read.
        say: told how it goes.
        looks_every_s: whether the address still answers.

    Raises:
        BadHarness: the harness failed, or its logs are not whole, or the runs are copies.
    """
    kind = order.checked()
    rows: list[AttemptRow] = []
    for number in range(order.runs):
        job = _job(order, address, folder, number)
        if not _is_done(order, job):
            say(f"run {number}, seed {job.seed}: {kind.distribution} on {', '.join(job.tasks)}")
            _run(kind, order, job, address, looks_every_s)
        rows += kind.rows(job)
    _require_same_tasks(order, rows)
    require_independent(rows, temperature=order.temperature)
    return rows


def with_lengths(
    rows: Iterable[AttemptRow], count: Callable[[str], int], max_tokens: int
) -> list[AttemptRow]:
    """Rows of a harness that does not say how long replies were, with the tokens of their texts.

    Args:
        rows: any; those that say it stay as they are.
        count: tokens of a text.
        max_tokens: a reply that has as many was cut.
    """
    found = []
    for row in rows:
        if not row.ending:
            size = row.num_tokens or count(row.reply)
            ending = Ending.TRUNCATED_TOKENS if size >= max_tokens else Ending.ANSWERED
            row = replace(row, num_tokens=size, ending=ending)
        found.append(row)
    return found


def is_whole(order: Order, address: Place, folder: Path) -> bool:
    """Whether all runs were made already, so that nothing need be served."""
    return all(
        _is_done(order, _job(order, address, folder, number)) for number in range(order.runs)
    )


def require_independent(rows: Sequence[AttemptRow], *, temperature: float) -> None:
    """Refuse runs that are copies of each other.

    Raises:
        BadHarness: says which.
    """
    by_entry: dict[str, dict[tuple[str, int], str]] = defaultdict(dict)
    for row in rows:
        by_entry[row.entry][row.task, row.run] = row.reply
    for entry, replies in by_entry.items():
        if said := copies(table(replies), temperature=temperature):
            raise BadHarness(f"{entry}: {said}")


def _job(order: Order, address: Place, folder: Path, number: int) -> Job:
    return Job(
        tasks=order.tasks,
        run=number,
        seed=seed_of(order.seed, number),
        base_url=address.base_url,
        model=address.model,
        folder=folder / f"run-{number}",
        temperature=order.temperature,
        top_p=order.top_p,
        max_tokens=order.max_tokens,
        limit=order.limit,
        concurrent=order.concurrent,
        include=order.include,
        options=order.options,
    )


def _run(kind: Harness, order: Order, job: Job, address: Place, looks_every_s: float) -> None:
    """One run, from nothing; it is marked as done once its logs are whole."""
    python = order.python or sys.executable
    name, log = kind.distribution, job.folder / LOG
    shutil.rmtree(job.folder, ignore_errors=True)
    job.folder.mkdir(parents=True)
    variables = {**os.environ, **kind.variables(job), kind.key_variable: address.key}
    if order.python:
        variables.pop("PYTHONPATH", None)  # another interpreter's modules are none of ours
    command = [python, "-m", kind.module, *kind.command(job)]
    status = run(
        command,
        variables,
        log,
        is_alive=lambda: address.is_alive,
        looks_every_s=looks_every_s,
    )
    if not address.is_alive:
        raise BadHarness(
            f"the address {address.base_url} ended in the middle of run {job.run}, and {name} with "
            f"it: {_obituary(address)} The same command goes on with run {job.run}."
        )
    if status != 0:
        raise BadHarness(
            f"{name} failed in run {job.run} (exit status {status}): {last_words(log)} (the whole "
            f"log: {log})"
        )
    try:
        kind.rows(job)
    except NoSamples as error:
        raise BadHarness(
            f"{error} It ended as if all were well; the last that it said: {last_words(log)} (the "
            f"whole log: {log})"
        ) from None
    done = {"asked": _asked(order, job), "version": version_of(python, kind.distribution)}
    (job.folder / DONE).write_text(json.dumps(done, indent=2) + "\n")


def _is_done(order: Order, job: Job) -> bool:
    """Whether just this run was made before, and is whole."""
    try:
        told = json.loads((job.folder / DONE).read_text())
    except (OSError, ValueError):
        return False
    return bool(told.get("asked") == _asked(order, job))


def _asked(order: Order, job: Job) -> dict[str, object]:
    """What decides a run's answers, as far as the command goes."""
    told = asdict(job)
    for name in ("folder", "base_url", "concurrent"):
        del told[name]
    told["harness"] = order.harness
    return dict(json.loads(json.dumps(told)))


def _obituary(address: Place) -> str:
    server = getattr(address, "server", None)
    return f"{server.obituary()}." if server is not None else "it does not answer."


def _require_same_tasks(order: Order, rows: Sequence[AttemptRow]) -> None:
    """Refuse runs that did not answer the same tasks."""
    by_run: dict[int, set[tuple[str, str]]] = defaultdict(set)
    for row in rows:
        by_run[row.run].add((row.entry, row.task))
    for number, found in by_run.items():
        if lacking := sorted(by_run[0] ^ found):
            entry, task = lacking[0]
            raise BadHarness(
                f"runs 0 and {number} of {order.harness} do not have the same samples: "
                f"{len(lacking)} are in one alone, {entry}/{task} the first. Remove their "
                "folders to run them again."
            )
