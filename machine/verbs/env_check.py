"""`munro env check`: try an environment before any compute is paid for."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import click

from munro.envs.check import NOT_COUNTED, CheckReport, check, check_config
from munro.machine.loading import load, value_of
from munro.rollout.observe import clipped

SHOWN = 2000
"""Characters of a text that are printed; a gold reply may hold a whole file."""


def run_check(path: str, arguments: Sequence[tuple[str, str]]) -> int:
    """Print what the check found; exit status 1 when an environment is broken.

    Args:
        path: of an environment, or of a recipe (.toml), whose environments are all checked.
        arguments: of the environment's constructor, or overrides of the recipe.
    """
    if path.endswith(".toml"):
        reports = [check_config(env) for env in load(path, arguments).env]
    else:
        given: dict[str, Any] = {_bare(key): value_of(text) for key, text in arguments}
        reports = [check(path, **given)]
    for report in reports:
        for line in described(report):
            click.echo(line)
    # a grader that never returned sits in a thread that cannot be ended from within
    if not all(report.is_ok for report in reports):
        sys.stdout.flush()
        os._exit(1)
    return 0


def _bare(key: str) -> str:
    """An argument's own name, also where it is given as climb and eval take it."""
    return key.removeprefix("env.").removeprefix("args.") if "args." in key else key


def _shown(who: str, text: str) -> Iterator[str]:
    yield from (f"  {who}| {line}" for line in clipped(text, SHOWN).splitlines())


def described(report: CheckReport) -> Iterator[str]:
    """The report as lines for a person."""
    if report.task is not None:
        train = "endless" if report.num_train is None else report.num_train
        test = "endless" if report.num_test is None else report.num_test
        held_out = "" if test == NOT_COUNTED else f", {test} held out"
        yield f"{report.name}: {train} tasks to train on{held_out}"
        yield f"task {report.task.id}, as the model sees it:"
        for message in report.task.messages:
            yield from _shown(message.role, message.content)
    for reply in report.gold:
        yield from _shown("gold", reply)
    if report.grade is not None and report.grade_ms is not None:
        verdict = "passes" if report.grade.solved else "fails"
        others = ", doing nothing and random calls of its tools fail"
        fail = others if report.task is not None and report.task.tools else " fails"
        yield f"the gold reply {verdict} with reward {report.grade.reward:g}; silence{fail}"
        yield f"grading takes {report.grade_ms:.1f} ms"
    yield from (f"warning: {line}" for line in report.warnings)
    yield from (f"broken: {line}" for line in report.problems[:1])
    if report.is_ok:
        yield f"{report.path} is sound"
