"""`munro swe`: tasks from repositories."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from munro.machine.cli.listing import Listing

Command = TypeVar("Command", bound=Callable[..., Any])


@click.group(cls=Listing)
def swe() -> None:
    """Make tasks from a git repository: its pull requests, made bugs, removed functions."""


def _common(command: Command) -> Command:
    """What all three makers take."""
    for option in reversed(
        (
            click.argument("repo"),
            click.option("--out", required=True, help="Folder of tasks to write."),
            click.option("--resume", is_flag=True, help="Go on with a build that was stopped."),
            click.option(
                "--jobs", default=1, show_default=True, help="Candidates worked on at once."
            ),
            click.option(
                "--packages",
                type=click.Choice(["dated", "newest", "installed"]),
                default="dated",
                show_default=True,
                help="Dependencies as of the base's date (the index must state dates), the newest,"
                " or as they are installed here.",
            ),
            click.option(
                "--requirements",
                default="",
                help="File of pip's requirements, in place of what REPO says that it needs.",
            ),
            click.option(
                "--test-s", default=20.0, show_default=True, help="Seconds of one test, at most."
            ),
            click.option(
                "--wall-s", default=300.0, show_default=True, help="Seconds of one run of tests."
            ),
            click.option(
                "--least-strength",
                default=0.5,
                show_default=True,
                help="Share of slightly wrong fixes that the hidden tests must notice.",
            ),
        )
    ):
        command = option(command)
    return command


@swe.command()
@_common
@click.option("--since", default="", help="Only changes since this date, as git reads it.")
@click.option("--until", default="", help="Only changes up to this date, as git reads it.")
@click.option("--limit", default=0, help="Newest candidates to try, at most; 0 for all.")
@click.option("--only", multiple=True, help="Folder that all changed code must be in.")
@click.option(
    "--history",
    type=click.Choice(["none", "past"]),
    default="none",
    show_default=True,
    help="Git history that the box shows: one commit, or what the base leads to.",
)
@click.option(
    "--statement",
    default="commit",
    show_default=True,
    help="What states a task: commit, issue, or judge:NAME, which writes it anew.",
)
@click.option("--issues", default="", help="Folder of exported issues, NUMBER.md or NUMBER.json.")
@click.option(
    "--author",
    default="",
    help="judge:NAME, which sets up what the tests need, in a box, where they do not run.",
)
@click.option("--config", "recipe", default="", help="Recipe whose [judge.NAME] is asked.")
def build(repo: str, out: str, **options: Any) -> None:
    """Mine the history of REPO for pull requests, and keep those that are proven tasks."""
    from munro.machine.verbs.swe import run_build

    sys.exit(run_build(repo, out, **options))


@swe.command()
@_common
@click.option("-n", "--n", "number", default=100, show_default=True, help="Bugs to try.")
@click.option("--seed", default=0, show_default=True, help="Another one makes other bugs.")
def bugs(repo: str, out: str, **options: Any) -> None:
    """Make bugs in the newest commit of REPO, and keep those that its tests find."""
    from munro.machine.verbs.swe import run_made

    sys.exit(run_made("bug", repo, out, **options))


@swe.command()
@_common
@click.option("-n", "--n", "number", default=100, show_default=True, help="Functions to try.")
@click.option("--seed", default=0, show_default=True, help="Another one takes other functions.")
def functions(repo: str, out: str, **options: Any) -> None:
    """Remove functions of REPO's newest commit, and keep those that its tests specify."""
    from munro.machine.verbs.swe import run_made

    sys.exit(run_made("function", repo, out, **options))


@swe.command()
@click.argument("folder")
@click.option("--store", default="", help="Folder of their layers; .layers beside the tasks.")
@click.option("--rounds", default=1, show_default=True, help="Gradings of each solution.")
@click.option(
    "--hacks",
    type=click.Choice(["none", "few", "all"]),
    default="few",
    show_default=True,
    help="Ways to cheat that are tried, none of which may earn anything.",
)
@click.option("--host/--no-host", default=True, help="Look for the fixes on this machine too.")
def check(folder: str, **options: Any) -> None:
    """Prove the tasks in FOLDER again: solution, doing nothing, twins, leaks, hacks."""
    from munro.machine.verbs.swe_tasks import run_check

    sys.exit(run_check(folder, **options))


@swe.command()
@click.argument("folder")
@click.option("--out", required=True, help="A .parquet file, or a folder for harbor.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["swebench", "harbor"]),
    required=True,
    help="Rows with SWE-bench's columns, or folders that Harbor builds and runs.",
)
@click.option("--store", default="", help="Folder of their layers; .layers beside the tasks.")
def export(folder: str, out: str, **options: Any) -> None:
    """Write the tasks in FOLDER as others read them."""
    from munro.machine.verbs.swe_tasks import run_export

    sys.exit(run_export(folder, out, **options))


@swe.command("import")
@click.argument("file")
@click.option("--out", required=True, help="Folder of tasks to write.")
@click.option("--store", default="", help="Folder of the layers that the rows name.")
def import_(file: str, out: str, store: str) -> None:
    """Make folders of tasks from FILE, rows in Parquet with SWE-bench's columns."""
    from munro.machine.verbs.swe_tasks import run_import

    sys.exit(run_import(file, out, store=store))
