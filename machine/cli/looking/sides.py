"""What follows `munro sides`."""

from __future__ import annotations

import sys

import click

from munro.machine.cli.listing import Listing


@click.group(cls=Listing)
def sides() -> None:
    """Let people compare two models' answers, side by side and blind."""


@sides.command(name="make")
@click.argument("a")
@click.argument("b")
@click.option("--out", required=True, help="Folder to write the study into.")
@click.option("--tasks", default=0, help="Tasks to draw by the seed; 0 for all.")
@click.option("--raters", default="3", show_default=True, help="How many, or names: ann,bo,cy.")
@click.option("--per-pair", default=3, show_default=True, help="Raters of each pair.")
@click.option("--criterion", "criteria", multiple=True, help="Graded 0 to 2; repeat for several.")
@click.option("--again", default=0.05, show_default=True, help="Share of pairs seen a second time.")
@click.option("--checks", default=0.03, show_default=True, help="Checks, as a share of the pairs.")
@click.option("--checks-file", default="", help="JSONL of prompt, good and bad; made unless given.")
@click.option("--strip", multiple=True, help="A further name to take out of answers; repeat.")
@click.option("--entry", default="", help="Of results, that alone.")
@click.option("--skip-differing", is_flag=True, help="Leave tasks out whose prompts differ.")
@click.option("--seed", default=0, show_default=True, help="Of who sees what, and where.")
def sides_make(
    a: str,
    b: str,
    out: str,
    tasks: int,
    raters: str,
    per_pair: int,
    criteria: tuple[str, ...],
    again: float,
    checks: float,
    checks_file: str,
    strip: tuple[str, ...],
    entry: str,
    skip_differing: bool,
    seed: int,
) -> None:
    """Pair the answers of A and B to the same prompts, and say who sees which, on which side.

    A and B are folders of results (munro eval), or JSONL of prompt and response. Who sees what is a
    function of the seed alone; what was whose is in a file that the server never reads.
    """
    from munro.evaluation.sides.make import CRITERIA, Wanted
    from munro.machine.sides.verbs import raters_of, run_make

    wanted = Wanted(
        tasks=tasks,
        raters=raters_of(raters),
        per_pair=per_pair,
        again=again,
        checks=checks,
        checks_file=checks_file,
        criteria=criteria or CRITERIA,
        strip=strip,
        entry=entry,
        skip_differing=skip_differing,
        seed=seed,
    )
    sys.exit(run_make(a, b, out, wanted))


@sides.command(name="serve")
@click.argument("study")
@click.option("--port", default=8600, show_default=True, help="0 takes a free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Who can reach it: see below.")
def sides_serve(study: str, port: int, host: str) -> None:
    """Serve STUDY to its raters as a page, a link each, until Ctrl-C.

    Every click is on the disk before it is answered: after a kill the same command goes on, and
    raters reload. The default host is this machine alone; 0.0.0.0 is everybody who can reach it,
    unencrypted.
    """
    from munro.machine.sides.verbs import run_serve

    sys.exit(run_serve(study, host, port))


@sides.command(name="report")
@click.argument("study")
@click.option("--without", multiple=True, help="A rater to leave out; repeat for several.")
@click.option("--json", "as_json", is_flag=True, help="Print report.json in its place.")
def sides_report(study: str, without: tuple[str, ...], as_json: bool) -> None:
    """Say which is better in STUDY, how far raters agree, and whom to look at.

    Writes report.json, and what people said in TRL's and HelpSteer3's form, which train a
    preference model: munro preference train STUDY/preferences.helpsteer3.jsonl.
    """
    from munro.machine.sides.verbs import run_report

    sys.exit(run_report(study, without, as_json=as_json))
