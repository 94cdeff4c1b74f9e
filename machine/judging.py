"""`munro judge test`: from what a person names to a judge, the labels, and a page of figures."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from munro.machine.errors import BadConfig
from munro.machine.loading import load, value_of
from munro.rewards.errors import EpisodeError
from munro.rewards.kinds import find, takes
from munro.rewards.plugins import BadPlugin, resolve
from munro.rewards.preference.comparisons import Comparison, read_comparisons
from munro.rewards.preference.format import PREFERENCE

if TYPE_CHECKING:
    from munro.evaluation.judges.asking import Subject
    from munro.evaluation.judges.labels import Labels

BETTER, CANNOT_TELL = 0, 3
"""Exit statuses, as a gate's."""
COMPARES, GRADES = "judge_preference", "judge"
"""Kinds of grader that a judge of a recipe is tested as, on comparisons and on responses."""


def run_judge_test(
    name: str,
    labels: str,
    overrides: Sequence[tuple[str, str]],
    *,
    recipe: str,
    limit: int,
    seed: int,
    price_in: float,
    price_out: float,
    question: str,
    skip_wrong: bool,
    **how: Any,
) -> int:
    """Print how a judge stands beside people; 0 where it is better than chance, 3 where that
    cannot be said.

    Args:
        name: a grader or judge of the recipe, a kind, a file's class, or a preference model.
        labels: file of labelled responses, or of comparisons.
        overrides: the grader's options.
        recipe: TOML that knows the name; "" for none.
        limit: rows to take; 0 for all.
        seed: of which ones, and of those asked a second time.
        price_in: of a million tokens.
        price_out: of a million tokens.
        question: of comparisons that answer several, the one to read.
        skip_wrong: leave wrong lines of comparisons out.
        how: as `munro.evaluation.judges.people.How` has it.

    Raises:
        BadConfig: the name, an option or the file is wrong.
    """
    from munro.evaluation.judges.labels import is_labels, read_labels
    from munro.evaluation.judges.lines import Prices, of_labels, of_pairs
    from munro.evaluation.judges.people import How, against_labels, against_pairs

    prices = Prices(tokens_in=price_in, tokens_out=price_out)
    asked = How(seed=seed, **how)
    try:
        if is_labels(labels):
            found = _some_labels(read_labels(labels), limit, seed)
            subject = subject_of(name, GRADES, recipe, nested(overrides))
            report = against_labels(subject, found, asked)
            click.echo(_head(labels, len(found.items), subject.kind, found.num_other))
            click.echo(of_labels(report, prices))
            return BETTER if report.figures.is_better_than_chance else CANNOT_TELL
        comparisons = some(comparisons_of(labels, question, skip_wrong), limit, seed)
        subject = subject_of(name, COMPARES, recipe, nested(overrides))
        paired = against_pairs(subject, comparisons, asked)
        click.echo(_head(labels, len(comparisons), subject.kind, 0))
        click.echo(of_pairs(paired, prices))
        return BETTER if paired.figures["all"].is_better_than_chance else CANNOT_TELL
    except (ValueError, EpisodeError) as error:
        raise error if isinstance(error, BadConfig) else BadConfig(str(error)) from error


def subject_of(name: str, as_kind: str, recipe: str, options: Mapping[str, Any]) -> Subject:
    """The grader that a name means, with its options; a judge of a recipe in full, so that a second
    asking can be told to remember nothing.

    Raises:
        BadConfig, ValueError: there is nothing of that name.
    """
    from munro.evaluation.judges.asking import Subject
    from munro.machine.climb.models import in_place, options_in_place, settle

    judges: Mapping[str, Any] = {}
    kind, given = name, dict(options)
    if recipe:
        config = load(recipe)
        judges = in_place(config, settle(config, only="judge.")).judge
        graders = {key: one for env in config.env for key, one in env.graders.items()}
        if name in graders:
            kind, given = graders[name].kind, {**graders[name].args, **given}
        elif name in judges:
            kind, given = as_kind, {"judge": name, **given}
    elif Path(name).is_dir():
        if not (Path(name) / PREFERENCE).is_file():
            raise BadConfig(f"{name} holds no {PREFERENCE}: it is no preference model")
        kind, given = "preference", {"model": name, **given}
    kind = resolve(kind)
    given = dict(options_in_place(kind, given))
    if "judge" in takes(kind):
        called = given.get("judge", takes(kind)["judge"].default)
        if isinstance(called, str) and called:
            if called not in judges:
                raise BadPlugin(_no_judge(called, judges, recipe))
            given["judge"] = judges[called].model_dump(mode="json")
    find(kind)
    workers = given["judge"].get("concurrency", 16) if isinstance(given.get("judge"), dict) else 0
    return Subject(kind=kind, options=given, workers=workers)


def comparisons_of(path: str, question: str, skip_wrong: bool) -> list[Comparison]:
    """Comparisons of a file; wrong lines are refused, or named on stderr and left out.

    Raises:
        BadComparisons: the file or its lines are wrong.
    """
    wrong: list[int] = []

    def name(number: int, why: str) -> None:
        wrong.append(number)
        click.echo(f"left out: {path}, line {number}: {why}", err=True)

    found = read_comparisons(path, question=question, on_wrong=name if skip_wrong else None)
    if wrong:
        click.echo(f"{len(wrong)} wrong lines of {path} are left out", err=True)
    return found


def some(comparisons: Sequence[Comparison], limit: int, seed: int) -> list[Comparison]:
    """At most so many of them, drawn by the seed, in their order; all for 0."""
    return [comparisons[at] for at in _drawn(len(comparisons), limit, seed)]


def nested(overrides: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """`--judge.model m --ask rubric` as {"judge": {"model": "m"}, "ask": "rubric"}.

    Raises:
        BadConfig: a table was given a value of its own before.
    """
    options: dict[str, Any] = {}
    for key, text in overrides:
        *parents, last = key.split(".")
        node = options
        for name in parents:
            node = node.setdefault(name, {})
            if not isinstance(node, dict):
                raise BadConfig(f"--{key}: {name} was given a value of its own before")
        node[last] = value_of(text)
    return options


def _no_judge(called: str, judges: Mapping[str, Any], recipe: str) -> str:
    if not recipe:
        return (
            f"there is no judge {called!r}: name a recipe that has it with --config, or give "
            "--judge.model NAME --judge.base_url URL"
        )
    known = f"it has {', '.join(judges)}" if judges else "it has none"
    return f"{recipe} has no [judge.{called}]: {known}"


def _some_labels(labels: Labels, limit: int, seed: int) -> Labels:
    chosen = _drawn(len(labels.items), limit, seed)
    return replace(
        labels,
        items=tuple(labels.items[at] for at in chosen),
        numbers=tuple(labels.numbers[at] for at in chosen),
        ratings=labels.ratings[:, chosen],
    )


def _drawn(total: int, limit: int, seed: int) -> list[int]:
    if not 0 < limit < total:
        return list(range(total))
    return sorted(random.Random(seed).sample(range(total), limit))


def _head(path: str, count: int, kind: str, num_other: int) -> str:
    other = f", {num_other} rows without text left out" if num_other else ""
    return f"{Path(path).name}: {count} rows{other}; {kind}"
