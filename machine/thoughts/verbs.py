"""What `munro thoughts` does."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import click

from munro.evaluation.thoughts.page import render
from munro.evaluation.thoughts.report import features_of, lines, look
from munro.evaluation.thoughts.scan import lines as scan_lines
from munro.evaluation.thoughts.scan import scan
from munro.evaluation.thoughts.types import mark
from munro.machine.errors import BadConfig
from munro.machine.judging import GRADES, nested, subject_of
from munro.machine.run.files import write_atomically
from munro.machine.run.folder import RunFolder
from munro.rewards.errors import EpisodeError

PAGE, DATA = "thoughts.html", "thoughts.json"
EVERY = 100_000
"""Attempts from one word of progress to the next."""


def run_thoughts(
    run: str,
    marks: Sequence[str],
    *,
    judge: str,
    recipe: str,
    number: int,
    seed: int,
    overrides: Sequence[tuple[str, str]],
) -> int:
    """Write the page and the JSON; print a line a feature.

    Args:
        run: folder of the run.
        marks: features of one's own, NAME=PATTERN.
        judge: to scan with; "" for none.
        recipe: that knows the judge; "" for none.
        number: of replies from either end that it is shown.
        seed: of what is drawn.
        overrides: the judge's options.

    Raises:
        RunError, StoreError, BadThoughts: the run or its rollouts cannot be read.
        BadConfig: the judge, or an option, is wrong.
    """
    if overrides and not judge:
        raise BadConfig(f"--{overrides[0][0]}: options of a judge go with --scan NAME")
    folder = RunFolder.existing(run)
    features = features_of(dict(map(mark, marks)))
    told = [0]

    def on_progress(num: int) -> None:
        if num // EVERY > told[0]:
            told[0] = num // EVERY
            click.echo(f"{num:,} attempts read", err=True)

    found = look(folder.rollouts, features, seed=seed, on_progress=on_progress)
    rows = list(lines(found))
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        click.echo(f"{name:<{width}}  {value}")
    data, judged = found.as_json(), list[str]()
    if judge:
        scanned = scan(
            folder.rollouts,
            lambda items: _asked(judge, recipe, overrides, items),
            number=number,
            seed=seed,
        )
        judged = [f"{judge}: {line}" for line in scan_lines(scanned)]
        data["scan"] = {"judge": judge, "said": judged}
        for line in judged:
            click.echo(line)
    write_atomically(folder.path / DATA, json.dumps(data) + "\n")
    write_atomically(folder.path / PAGE, render(folder.name, found, judged))
    click.echo(f"wrote {folder.path / PAGE} and {folder.path / DATA}")
    return 0


def _asked(
    judge: str,
    recipe: str,
    overrides: Sequence[tuple[str, str]],
    items: Sequence[Mapping[str, Any]],
) -> tuple[list[float | None], Counter[str]]:
    """What a grader or a judge says of each."""
    from munro.evaluation.judges.asking import ask

    try:
        subject = subject_of(judge, GRADES, recipe, nested(overrides))
        answers = ask(subject, items, range(1, len(items) + 1), "the sample")
    except (ValueError, EpisodeError) as error:
        raise error if isinstance(error, BadConfig) else BadConfig(str(error)) from error
    return [None if one is None else one.reward for one in answers.grades], answers.failures
