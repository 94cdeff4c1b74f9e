"""`munro env check`: try an environment before any compute is paid for."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import click

from envs.check import CheckReport, check
from machine.loading import value_of


def run_check(path: str, arguments: Sequence[tuple[str, str]]) -> int:
    """Print what the check found; exit status 1 when the environment is broken."""
    given: dict[str, Any] = {key: value_of(text) for key, text in arguments}
    report = check(path, **given)
    for line in described(report):
        click.echo(line)
    # a grader that never returned sits in a thread that cannot be ended from within
    if not report.is_ok:
        sys.stdout.flush()
        os._exit(1)
    return 0


def described(report: CheckReport) -> Iterator[str]:
    """The report as lines for a person."""
    if report.task is not None:
        train = "endless" if report.num_train is None else report.num_train
        test = "endless" if report.num_test is None else report.num_test
        yield f"{report.name}: {train} tasks to train on, {test} held out"
        yield f"task {report.task.id}, as the model sees it:"
        for message in report.task.messages:
            yield from (f"  {message.role}| {line}" for line in message.content.splitlines())
    for reply in report.gold:
        yield from (f"  gold| {line}" for line in reply.splitlines())
    if report.grade is not None and report.grade_ms is not None:
        verdict = "passes" if report.grade.solved else "fails"
        yield f"the gold reply {verdict} with reward {report.grade.reward:g}; silence fails"
        yield f"grading takes {report.grade_ms:.1f} ms"
    yield from (f"warning: {line}" for line in report.warnings)
    yield from (f"broken: {line}" for line in report.problems[:1])
    if report.is_ok:
        yield f"{report.path} is sound"
