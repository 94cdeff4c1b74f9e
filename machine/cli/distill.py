"""Commands that keep what climbs found."""

from __future__ import annotations

import sys

import click

from munro.machine.cli.arguments import OVERRIDABLE, first


@click.command(context_settings=OVERRIDABLE)
@first("run")
@click.option(
    "--onto", required=True, help="The base, which has not climbed: a folder or a hub name."
)
@click.option("--out", required=True, help="Checkpoint folder to write.")
@click.option("--config", "file", default="", help="Recipe whose [distill] holds, not the run's.")
@click.option("--first-step", type=int, help="First step of the climb to take traces of.")
@click.option("--last-step", type=int, help="Last such step.")
@click.option("--dry-run", is_flag=True, help="Show what is selected and dropped; train nothing.")
@click.pass_context
def distill(
    context: click.Context,
    run: str,
    onto: str,
    out: str,
    file: str,
    first_step: int | None,
    last_step: int | None,
    dry_run: bool,
) -> None:
    """Fine-tune a fresh base on the traces of the climb in RUN.

    RUN may be one of its checkpoints, as RUN/checkpoints/best: the traces up to its step are meant.
    Options with a dot override keys, such as --select.window "[0.5, 1.0]",
    --filters.repetition 0.2 or --training.epochs 2. The same command goes on where it was killed.
    """
    from munro.machine.loading import overrides_of
    from munro.machine.verbs.distill import run_distill

    sys.exit(
        run_distill(
            run,
            onto,
            out,
            file=file,
            steps=(first_step, last_step),
            dry_run=dry_run,
            overrides=overrides_of(context.args),
        )
    )


@click.command(context_settings=OVERRIDABLE)
@click.argument("runs", nargs=-1, required=True)
@click.option(
    "--onto", required=True, help="The base, which has not climbed: a folder or a hub name."
)
@click.option("--out", required=True, help="Checkpoint folder to write.")
@click.option(
    "--weights", default="", help="RUN=SHARE,RUN=SHARE by folder name; alike if left out."
)
@click.option("--config", "file", default="", help="Recipe whose [distill] holds.")
@click.option("--dry-run", is_flag=True, help="Show shares and what is dropped; train nothing.")
@click.pass_context
def consolidate(
    context: click.Context,
    runs: tuple[str, ...],
    onto: str,
    out: str,
    weights: str,
    file: str,
    dry_run: bool,
) -> None:
    """Make one model of the climbs in RUNS: their traces, by weight, onto a fresh base.

    Weights count samples, or tokens with --select.weigh tokens. [teachers.RUN] of the recipe holds
    filters for one run. Options with a dot override keys, as for `munro distill`.
    """
    from munro.machine.loading import overrides_of
    from munro.machine.verbs.distill import run_consolidate

    folders, options = _told_apart((*runs, *context.args))
    sys.exit(
        run_consolidate(
            folders,
            onto,
            out,
            weights=weights,
            file=file,
            dry_run=dry_run,
            overrides=overrides_of(options),
        )
    )


def _told_apart(words: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """(runs, options that override keys), which click hands over as one list."""
    runs: list[str] = []
    options: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            runs.append(word)
            continue
        options.append(word)
        if "=" not in word and rest:
            options.append(rest.pop(0))
    return runs, options
