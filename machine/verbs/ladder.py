"""`munro ladder` and `munro gain`: train a ladder, and say what it tells."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from pydantic import ValidationError

from munro.base_model.results import TrainedRun, read_results
from munro.base_model.scaling.config import BASELINE, LadderConfig
from munro.machine.loading import BadConfig, load_as, page
from munro.machine.run.files import RunError, explained, write_atomically
from munro.machine.run.lock import held_folder

if TYPE_CHECKING:
    from munro.base_model.scaling.comparison import CompareConfig, Comparison
    from munro.base_model.scaling.plan import Plan

RESULTS = "results.jsonl"
REPORT = "report.html"


def run_ladder(file: str, overrides: Sequence[tuple[str, str]], *, dry_run: bool) -> int:
    """Train what is not trained yet, compare, print the verdict and write the page.

    Raises:
        BadConfig: a key is wrong.
        DataError, RungFailed, RunError: the text, a training or the disk.
    """
    config = load_as(LadderConfig, file, overrides)
    if dry_run:
        click.echo(plan_table(plans_of(config, file)))
        return 0
    from munro.base_model.data.shards.texts import prepare
    from munro.base_model.scaling.rungs import Setting
    from munro.machine.run.trainings import watched

    folder = Path(config.folder) / config.name
    with held_folder(folder, "give this ladder another --name"):
        with explained(folder):
            text = prepare(config.data, folder / "data", note=say)
        planned = plans_of(config, file, text.vocab_size)
        setting = Setting(
            text=text, folder=folder / "trainings", device=config.device, workers=config.workers
        )
        runs = watched(planned, setting, say)
        write_results(folder / RESULTS, runs)
        verdict = compared(runs, comparing(config))
        write_page(folder / REPORT, verdict, runs, title=config.name, config=page(config))
        tell(verdict, folder / RESULTS, folder / REPORT)
    return 0


def run_gain(file: str, given: Mapping[str, Any], out: str) -> int:
    """Compare the runs of a results file; write a page where `out` names one.

    Args:
        file: the results.
        given: fields of `CompareConfig`.
        out: the page to write; empty writes none.

    Raises:
        BadResults: a line, or what they come to together, is wrong.
        RunError: the page cannot be written.
    """
    from munro.base_model.scaling.comparison import CompareConfig

    runs = read_results(Path(file).expanduser())
    verdict = compared(runs, CompareConfig(**given))
    if out:
        write_page(Path(out).expanduser(), verdict, runs, title=Path(file).stem, config="")
    tell(verdict, *([Path(out)] if out else []))
    return 0


def plans_of(config: LadderConfig, file: str, vocab_size: int = 0) -> tuple[Plan, ...]:
    """Every training of the ladder.

    Raises:
        BadConfig: a candidate's keys make no training.
    """
    from munro.base_model.scaling.plan import plans

    try:
        return plans(config, vocab_size)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadConfig(
            f"{file}: a candidate's training.{where} = {first['input']!r}: {first['msg']}."
        ) from error


def plan_table(planned: Sequence[Plan]) -> str:
    """What would be trained."""
    from munro.base_model.scaling.plan import table

    return table(tuple(planned))


def comparing(config: LadderConfig) -> CompareConfig:
    """How a ladder's own keys say that it is compared."""
    from munro.base_model.scaling.comparison import CompareConfig

    return CompareConfig(
        baseline=BASELINE,
        weights=config.weights,
        noise=config.noise,
        huber=config.huber,
        level=config.level,
        steady=config.steady,
        draws=config.draws,
    )


def compared(runs: Sequence[TrainedRun], config: CompareConfig) -> Comparison:
    """`munro.base_model.scaling.comparison.compare`, imported late."""
    from munro.base_model.scaling.comparison import compare

    return compare(runs, config)


def write_results(file: Path, runs: Sequence[TrainedRun]) -> None:
    """All runs, as `munro gain` reads them."""
    from munro.base_model.results import as_line

    write_atomically(file, "".join(as_line(run) for run in runs))


def write_page(
    file: Path, verdict: Comparison, runs: Sequence[TrainedRun], *, title: str, config: str
) -> None:
    """The page, whole or not at all."""
    from munro.machine.verbs.ladder_page import ladder_page

    if file.is_dir():
        raise RunError(f"{file} is a folder: give the name of a file to write.")
    write_atomically(file, ladder_page(verdict, runs, title=title, config=config))


def tell(verdict: Comparison, *written: Path) -> None:
    """The verdict on standard output, and what was written."""
    from munro.machine.verbs.verdicts import text

    click.echo(text(verdict))
    if written:
        click.echo("")
    for file in written:
        click.echo(f"wrote {file}")


def say(line: str) -> None:
    """Progress, beside the result."""
    click.echo(line, file=sys.stderr)
