"""Commands about scale: a ladder of small models, and the gains of anybody's runs."""

from __future__ import annotations

import sys

import click

from munro.machine.cli.arguments import OVERRIDABLE, first
from munro.machine.loading import BadConfig


@click.command(context_settings=OVERRIDABLE)
@first("file")
@click.option("--dry-run", is_flag=True, help="Say what would be trained, train nothing.")
@click.pass_context
def ladder(context: click.Context, file: str, dry_run: bool) -> None:
    """Train a baseline and candidates at several sizes; say who gains, and whether it lasts."""
    from munro.machine.loading import overrides_of
    from munro.machine.verbs.ladder import run_ladder

    sys.exit(run_ladder(file, overrides_of(context.args), dry_run=dry_run))


@click.command()
@click.argument("results")
@click.option(
    "--baseline", default="", help='Its name; by default "baseline", or the first line\'s.'
)
@click.option(
    "--weights", default="", help="Of categories: code=0.5,math=0.5. Default: the report's."
)
@click.option("--noise", default=0.0, help="Relative spread of a loss between seeds, where known.")
@click.option("--level", default=0.95, show_default=True, help="Of the intervals.")
@click.option("--page", default="", help="HTML page to write.")
def gain(results: str, baseline: str, weights: str, noise: float, level: float, page: str) -> None:
    """Efficiency gain of runs that anybody trained, from RESULTS (JSONL).

    \b
    A line a run:
      {"name": "baseline", "rung": "L12", "flops": 1.9e18, "seconds": 410,
       "losses": {"code/stdlib": 1.32, "math/sums": 0.91}}
    or, with a single figure, "loss": 1.93 instead of "losses". "rung" and "seconds" may be missing.
    """
    if not 0 < level < 1:
        raise BadConfig(f"--level {level}: give a share between 0 and 1, such as 0.95")
    if noise < 0:
        raise BadConfig(f"--noise {noise}: a spread is not negative; 0 estimates it")
    from munro.machine.verbs.ladder import run_gain

    given = {
        "baseline": baseline,
        "weights": weights_of(weights),
        "noise": noise,
        "level": level,
    }
    sys.exit(run_gain(results, given, page))


def weights_of(text: str) -> dict[str, float]:
    """`code=0.5,math=0.5` as a mapping.

    Raises:
        BadConfig: it is written otherwise.
    """
    weights = {}
    for part in filter(None, text.split(",")):
        name, equals, value = part.partition("=")
        try:
            weights[name.strip()] = float(value)
        except ValueError:
            equals = ""
        if not equals:
            raise BadConfig(f"--weights {text}: write category=share, separated by commas")
    return weights
