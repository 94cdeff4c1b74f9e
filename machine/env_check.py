"""`munro env check`: try an environment before any compute is paid for."""

from __future__ import annotations

from collections.abc import Sequence

import click

from envs.check import check
from machine.loading import value_of


def run_check(path: str, arguments: Sequence[tuple[str, str]]) -> int:
    """Print what the check found; exit status 1 when the environment is broken."""
    report = check(path, **{key: value_of(text) for key, text in arguments})
    click.echo(str(report))
    return 0 if report.ok else 1
