"""`munro eval`: ask what is missing, keep it, tell what is known.

The same command goes on with an evaluation that was interrupted, and tells again of one that is
whole without starting anything.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from munro.evaluation.config import EntryConfig, SuiteConfig
from munro.evaluation.page import write_page
from munro.evaluation.results import Results
from munro.evaluation.suite import Asked, make, wanted
from munro.evaluation.told import entry_lines
from munro.machine.config import RunConfig
from munro.machine.loading import BadConfig, load_as
from munro.machine.run.lock import held_folder

if TYPE_CHECKING:  # torch and Ray take seconds to import: what a person wrote wrong is told before
    from munro.machine.evaluating.plan import Planned
    from munro.machine.evaluating.source import FleetSource

HOME = "evals"
TASKS, RUNS = 200, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a person asked for.

    Example:
        Wanted(model="runs/quickstart/checkpoints/step-001040")
    """

    model: str
    env: str = ""
    suite: str = ""
    tasks: int | None = None
    runs: int | None = None
    k: int = 0
    out: str = ""


def run_eval(asked: Wanted, overrides: Sequence[tuple[str, str]]) -> int:
    """Evaluate a checkpoint on held-out tasks: those of a suite, an environment, or its climb's.

    Raises:
        BadConfig: a key is wrong, or `k` is more than the runs.
        CheckpointError: the model's folder is missing or incomplete.
        BadResults: the folder holds something else, or cannot be written.
    """
    suite = _suite(asked)
    _check_sizes(asked, suite)
    from munro.base_model.checkpoint import Checkpoint
    from munro.base_model.hub import locate
    from munro.machine.evaluating.plan import model_of, planned

    revision = dict(overrides).get("model.revision", "")
    overrides = [(key, value) for key, value in overrides if key != "model.revision"]
    located = locate(asked.model, revision=revision)
    folder = Checkpoint(located.folder).require().path
    entries = [
        planned(folder, entry, asked.env, _sizes(asked, entry, suite), suite, overrides)
        for entry in (suite.entries if suite else [EntryConfig()])
    ]
    names = [one.asked.name for one in entries]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise BadConfig(f"two entries are called {twice[0]}: give each a name of its own.")
    told = {
        "model": model_of(located, asked.model),
        "entries": {one.asked.name: one.asked.written for one in entries},
    }
    where = Path(asked.out) if asked.out else Path(HOME) / _name(folder, asked.suite, told)
    with held_folder(where, "give this evaluation another folder with --out"):
        results = Results(where)
        results.begin(told)
        if located.repo:
            click.echo(f"{'model':<16} {located.repo} at commit {located.commit}")
        for one in entries:
            head = ["on"] if len(entries) == 1 else [one.asked.name]
            for name, line in zip([*head, *[""] * len(one.said)], one.said, strict=False):
                click.echo(f"{name:<16} {line}")
        click.echo(f"{'kept in':<16} {where}")
        try:
            _make(results, entries, folder)
        finally:
            results.summarise()
        for one in entries:
            if len(entries) > 1:
                click.echo(f"\n{one.asked.name}")
            rows = results.rows(one.asked.name)
            for name, figure in entry_lines(rows, k=asked.k, num_trained=one.num_trained):
                click.echo(f"{name:<16} {figure}")
        click.echo(f"{'page':<16} {write_page(results)}")
    return 0


def _suite(asked: Wanted) -> SuiteConfig | None:
    if not asked.suite:
        return None
    if asked.env:
        raise BadConfig("--suite has environments of its own: leave --env out, or --suite.")
    return load_as(SuiteConfig, asked.suite)


def _check_sizes(asked: Wanted, suite: SuiteConfig | None) -> None:
    for name, number in (("tasks", asked.tasks), ("runs", asked.runs)):
        if number is not None and number < 1:
            raise BadConfig(f"--{name} {number}: give 1 or more.")
    most = min(
        _sizes(asked, entry, suite)["runs"]
        for entry in (suite.entries if suite else [EntryConfig()])
    )
    if asked.k > most:
        raise BadConfig(
            f"--k {asked.k} needs at least as many attempts at each task, not --runs {most}"
        )


def _sizes(asked: Wanted, entry: EntryConfig, suite: SuiteConfig | None) -> dict[str, int]:
    """The command's word counts, then the entry's, then the suite's."""
    runs = entry.runs or (suite.runs if suite else RUNS)
    return {
        "num_tasks": entry.tasks if asked.tasks is None else asked.tasks,
        "runs": runs if asked.runs is None else asked.runs,
    }


def _name(folder: Path, suite: str, told: dict[str, Any]) -> str:
    """A folder for just this model and just these questions, by a name that a person knows."""
    parts = [part for part in folder.parts[-3:] if part not in ("checkpoints", "runs", "/")][-2:]
    what = Path(suite).stem if suite else "+".join(told["entries"])
    text = json.dumps(told, sort_keys=True).encode()
    return "-".join([*parts, what[:40], blake2b(text, digest_size=3).hexdigest()])


def _make(results: Results, entries: Sequence[Planned], folder: Path) -> None:
    """Ask fleets for what is missing, one fleet for all entries that are sampled alike."""
    missing = [one for one in entries if wanted(results, one.asked)]
    while missing:
        alike = [one for one in missing if _serving(one.config) == _serving(missing[0].config)]
        missing = [one for one in missing if one not in alike]
        with _source(alike, folder) as source:
            for one in alike:
                make(results, one.asked, source, on_kept=_teller(one.asked))


def _teller(asked: Asked) -> Callable[[int, int], None]:
    def tell(done: int, of: int) -> None:
        if done < of:
            click.echo(f"{asked.name}: {done} of {of} attempts kept", err=True)

    return tell


def _serving(config: RunConfig) -> str:
    """Everything about a config that a fleet is started with, but its environments."""
    tree = config.model_dump(mode="json", exclude={"env", "eval"})
    return json.dumps(tree, sort_keys=True)


@contextmanager
def _source(entries: Sequence[Planned], folder: Path) -> Iterator[FleetSource]:
    """A fleet over the environments of all these entries."""
    from munro.envs.problem_set import unique_names
    from munro.machine.climb.cluster import start_fleet
    from munro.machine.evaluating.source import Drawn, FleetSource

    envs = [env for one in entries for env in one.config.env]
    known = iter(unique_names([name for one in entries for name in one.names.values()]))
    drawn = {}
    for one in entries:
        here = {name: next(known) for name in one.names}
        tasks = {name: replace(task, env=here[task.env]) for name, task in one.tasks.items()}
        drawn[one.asked.name] = Drawn(tasks=tasks, cap=one.cap)
    config = entries[0].config.model_copy(update={"env": tuple(envs)})
    with (
        TemporaryDirectory(prefix="munro-eval-") as scratch,
        start_fleet(config, folder, Path(scratch), learner=False) as fleet,
    ):
        yield FleetSource(fleet.solvers, drawn)
