"""`munro grade`: grade a file of responses from the shell, without any training."""

from __future__ import annotations

import queue
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from munro.machine.climb.models import in_place, options_in_place, settle
from munro.machine.judging import nested
from munro.machine.loading import BadConfig, load
from munro.machine.verbs.grade_files import Line, Responses, Verdict, Verdicts
from munro.rewards.config import PoolConfig, RewardsConfig, ServiceConfig
from munro.rewards.errors import EpisodeError
from munro.rewards.kinds import find, label
from munro.rewards.plugins import resolve
from munro.rewards.service import GradingService
from munro.rewards.types import Grade

MOST_REASONS = 8


@dataclass(slots=True)
class Tally:
    """What a run graded, for the table."""

    num_before: int = 0
    """Lines that had their grade already."""
    grades: list[tuple[float, bool]] = field(default_factory=list)
    """Reward, and whether it counts as passed; those from before too."""
    failures: Counter[str] = field(default_factory=Counter)
    """Named failures, by their reason."""
    places: dict[str, int] = field(default_factory=dict)
    """The first line that failed so."""
    seconds: float = 0.0
    queue_s: float = 0.0

    def add(self, verdict: Verdict) -> None:
        """Count one line."""
        if verdict.grade is not None:
            self.grades.append((verdict.grade.reward, verdict.grade.solved))
        else:
            self.failures[verdict.failure] += 1
            self.places.setdefault(verdict.failure, verdict.number)


def run_grade(
    file: str,
    kind: str,
    out: str,
    recipe: str,
    sizes: PoolConfig,
    overrides: Sequence[tuple[str, str]],
) -> int:
    """Grade every line, print the table; exit status 1 if any line has no grade.

    Args:
        file: JSONL of responses.
        kind: of grader.
        out: JSONL to write or to go on with; "" writes none.
        recipe: TOML whose `[rewards]` holds; "" for the usual sizes.
        sizes: of the pool; 0 leaves what the recipe or the kind says.
        overrides: the grader's options, as written on the command line.

    Raises:
        BadConfig: the file, a line, an option or the recipe is wrong.
    """
    options = nested(overrides)
    rewards = _rewards(recipe) if recipe else RewardsConfig()
    try:
        if recipe:
            options = {**find(kind).usual(rewards).options, **options}
        kind = resolve(kind)
        options = options_in_place(kind, options)
        responses = Responses(Path(file).expanduser(), kind, options)
        with GradingService(_service(rewards.service, kind, sizes)) as service:
            responses.check(service.prepare(kind, options))
            tally = _all(service, responses, kind, options, Path(out).expanduser() if out else None)
    except (ValueError, EpisodeError) as error:
        raise error if isinstance(error, BadConfig) else BadConfig(str(error)) from error
    _show(tally, kind, responses, out)
    return 1 if tally.failures else 0


def _rewards(recipe: str) -> RewardsConfig:
    """The recipe's `[rewards]`; from now on its judges are known by their names."""
    from munro.rewards import judge

    config = load(recipe)
    judge.configure(in_place(config, settle(config, only="judge.")).judge)
    return config.rewards


def _service(config: ServiceConfig, kind: str, sizes: PoolConfig) -> ServiceConfig:
    pools = {resolve(name): pool for name, pool in config.pools.items()}
    given = {key: value for key, value in sizes if value}
    pool = pools.get(kind, PoolConfig()).model_copy(update=given)
    return ServiceConfig(pools={**pools, kind: pool})


def _all(
    service: GradingService,
    responses: Responses,
    kind: str,
    options: Mapping[str, Any],
    out: Path | None,
) -> Tally:
    tally, verdicts = Tally(), Verdicts(out) if out is not None else None
    known = verdicts.read() if verdicts is not None else {}
    kept = {
        line.number: (known[line.number], line.item)
        for line in (responses if known else ())
        if line.number in known and known[line.number].digest == line.digest
    }
    for verdict, _ in kept.values():
        tally.add(verdict)
    tally.num_before = len(kept)
    if verdicts is not None:
        verdicts.begin(kept)
    began = time.monotonic()
    try:
        with _progress() as progress:
            bar = progress.add_task(label(kind), total=responses.num_lines, completed=len(kept))
            lines = (line for line in responses if line.number not in kept)
            for line, verdict in _graded(service, lines, kind, options):
                tally.add(verdict)
                if verdicts is not None:
                    verdicts.append(verdict, line.item)
                progress.advance(bar)
    finally:
        if verdicts is not None:
            verdicts.close()
    tally.seconds = time.monotonic() - began
    tally.queue_s = service.metrics().get(f"grade/{label(kind)}/queue_s", 0.0)
    return tally


def _graded(
    service: GradingService, lines: Iterator[Line], kind: str, options: Mapping[str, Any]
) -> Iterator[tuple[Line, Verdict]]:
    """Every line with its verdict, as they come; handing in waits where the queue is full."""
    done: queue.SimpleQueue[tuple[Line, Future[Grade]]] = queue.SimpleQueue()
    num_open = 0
    for line in lines:
        try:
            group = str(line.item.get("task_id", ""))
            future = service.submit(kind, line.item, options=options, group=group)
        except EpisodeError as failure:
            yield line, Verdict(number=line.number, digest=line.digest, failure=str(failure))
            continue
        num_open += 1
        future.add_done_callback(lambda future, line=line: done.put((line, future)))  # type: ignore[misc]
        while not done.empty():
            yield _settled(*done.get())
            num_open -= 1
    for _ in range(num_open):
        yield _settled(*done.get())


def _settled(line: Line, future: Future[Grade]) -> tuple[Line, Verdict]:
    failure = future.exception()
    if failure is None:
        verdict = Verdict(number=line.number, digest=line.digest, grade=future.result())
    elif isinstance(failure, EpisodeError | ValueError):
        verdict = Verdict(number=line.number, digest=line.digest, failure=str(failure))
    else:
        raise failure
    return line, verdict


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )


def _show(tally: Tally, kind: str, responses: Responses, out: str) -> None:
    console = Console()
    table = Table(title=f"{responses.path.name}: {label(kind)}", title_justify="left")
    for name in ("lines", "graded", "passed", "mean reward", "failures", "per s", "queue s"):
        table.add_column(name, justify="right")
    num_new = len(tally.grades) + sum(tally.failures.values()) - tally.num_before
    before = f" ({tally.num_before} before)" if tally.num_before else ""
    table.add_row(
        str(responses.num_lines),
        f"{len(tally.grades)}{before}",
        f"{fmean(passed for _, passed in tally.grades):.1%}" if tally.grades else "-",
        f"{fmean(reward for reward, _ in tally.grades):.4f}" if tally.grades else "-",
        str(sum(tally.failures.values())),
        f"{num_new / tally.seconds:.1f}" if num_new and tally.seconds else "-",
        f"{tally.queue_s:.3f}" if num_new else "-",
    )
    console.print(table)
    for reason, num in tally.failures.most_common(MOST_REASONS):
        place = f"{responses.path.name}:{tally.places[reason]}"
        more = f" (and {num - 1} more)" if num > 1 else ""
        # what a model wrote may be part of the reason: it is no markup
        console.print(Text(f"no grade: {place}{more}: {reason}"), soft_wrap=True)
    if tally.failures and out:
        console.print("Run the same command again to try these once more.")
