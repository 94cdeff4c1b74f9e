"""Whether a model may go out: rules over figures, each with a verdict that may be "cannot tell".

    [[rules]]
    kind = "at_least"          # the interval's low end; "at_most": its high end
    figure = "sums/pass_rate"  # ENTRY/FIGURE
    bound = 0.9

A rule is decided where the whole interval lies on one side of its bound. Where the bound is inside,
nobody can tell; then the rule says how many tasks would decide it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from glob import glob
from pathlib import Path

import numpy as np

from munro.evaluation import figures
from munro.evaluation.compare import paired_rows
from munro.evaluation.config import AtLeast, AtMost, Front, GateConfig, Hardest, NoWorse
from munro.evaluation.results import Results
from munro.evaluation.statistics import Estimate, paired, tasks_to_decide
from munro.evaluation.types import AttemptRow, BadResults


class Verdict(StrEnum):
    """What a rule, or a gate, says."""

    PASS = "pass"
    FAIL = "fail"
    CANNOT_TELL = "cannot tell"

    @property
    def exit_status(self) -> int:
        """Of `munro eval gate`; 2 is for what a person wrote."""
        return {Verdict.PASS: 0, Verdict.FAIL: 1, Verdict.CANNOT_TELL: 3}[self]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """What one figure of a rule came to.

    Example:
        Ruling(rule="sums hold", figure="sums/pass_rate", verdict=Verdict.PASS, found=estimate,
               bound=0.9)
    """

    rule: str
    figure: str
    verdict: Verdict
    found: Estimate
    """The figure, or by how much it is better than the other's."""
    bound: float
    num_tasks: int
    would_decide: int | None = None
    """About how many tasks would; None where it is decided, or no number is sure to."""
    detail: str = ""

    def __str__(self) -> str:
        told = f"{self.verdict}: {self.rule}: {self.figure} {self.found}, bound {self.bound:.4g}"
        if self.detail:
            told += f" ({self.detail})"
        if self.verdict is not Verdict.CANNOT_TELL:
            return told
        if self.would_decide is None:
            return f"{told}: it is at its bound, which no number of tasks is sure to decide"
        return f"{told}: with {self.num_tasks} tasks; about {self.would_decide} would decide"


def decide(
    gate: GateConfig, results: Results, before: Results | None = None, *, home: Path = Path()
) -> tuple[Verdict, list[Ruling]]:
    """Hold results against all rules of a gate.

    Args:
        gate: the rules.
        results: of the model in question.
        before: of the one that it would replace, for rules that compare.
        home: folder from which the rules name stored results.

    Returns:
        "fail" where any rule fails, else "cannot tell" where any cannot, else "pass".

    Raises:
        BadResults: something is not whole, has no such figure, or cannot be compared.
    """
    results.require_whole()
    if before is not None:
        before.require_whole()
    rulings: list[Ruling] = []
    for rule in gate.rules:
        match rule:
            case NoWorse() | Hardest():
                if before is None:
                    raise BadResults(
                        f"rule {rule.title!r} on {rule.figure} compares with the model before: "
                        "name its results with --before."
                    )
                rulings.append(_against(rule, results, before))
            case Front():
                rulings += _on_front(rule, results, home)
            case _:
                rulings.append(_bounded(rule, results))
    verdicts = {ruling.verdict for ruling in rulings}
    worst = (Verdict.FAIL, Verdict.CANNOT_TELL, Verdict.PASS)
    return next(verdict for verdict in worst if verdict in verdicts), rulings


def _bounded(rule: AtLeast | AtMost, results: Results) -> Ruling:
    """One figure against a number."""
    sign = 1.0 if isinstance(rule, AtLeast) else -1.0
    found, num_tasks = figure_of(results, rule.figure, rule.confidence)
    verdict, needed = _side(found, rule.bound, sign), None
    if verdict is Verdict.CANNOT_TELL:
        needed = tasks_to_decide(found, rule.bound, num_tasks, confidence=rule.confidence)
    return Ruling(
        rule=rule.title,
        figure=rule.figure,
        verdict=verdict,
        found=found,
        bound=rule.bound,
        num_tasks=num_tasks,
        would_decide=needed,
        detail="at least" if sign > 0 else "at most",
    )


def _side(found: Estimate, bound: float, sign: float) -> Verdict:
    """On which side of the bound the whole interval is."""
    worst, best = sorted((sign * found.low, sign * found.high))
    if worst >= sign * bound:
        return Verdict.PASS
    return Verdict.FAIL if best < sign * bound else Verdict.CANNOT_TELL


def figure_of(results: Results, figure: str, confidence: float) -> tuple[Estimate, int]:
    """A figure by "ENTRY/FIGURE", and over how many tasks it is.

    Raises:
        BadResults: there is no such figure; names those that there are.
    """
    entry, rows, name = _split(results, figure)
    try:
        table = figures.table_of(rows, name)
    except KeyError:
        found = figures.figures(rows)
        if name in found and confidence == 0.95:
            return found[name], len({row.task for row in rows})
        raise BadResults(
            f"{results.folder} has no figure {figure!r}. Of {entry} there are: {', '.join(found)}."
        ) from None
    is_rate = False if name in figures.OF_ATTEMPTS and name not in figures.RATES else None
    return table.estimate(is_rate=is_rate, confidence=confidence), len(table.tasks)


def _split(results: Results, figure: str) -> tuple[str, list[AttemptRow], str]:
    entry, _, name = figure.partition("/")
    rows = results.rows(entry) if entry else []
    if not rows or not name:
        there = ", ".join(results.entries())
        raise BadResults(
            f"{results.folder} has no figure {figure!r}: write ENTRY/FIGURE, with an entry of "
            f"{there}."
        )
    return entry, rows, name


def _against(rule: NoWorse | Hardest, results: Results, before: Results) -> Ruling:
    """The paired difference to the model before; the better, the higher."""
    was, now = _pair(rule.figure, results, before)
    weights, detail = None, "than before"
    if isinstance(rule, Hardest):
        weights = middling(was.values, now.values)
        if not weights.any():
            raise BadResults(
                f"rule {rule.title!r}: every task of {rule.figure} is always passed or never, by "
                "both models: there is no hard one to weigh."
            )
        detail += f", weighed towards {int((weights > 0).sum())} tasks in the balance"
    return _no_worse(
        rule, rule.figure, was, now, 1.0 if rule.better == "higher" else -1.0, detail, weights
    )


def _pair(figure: str, results: Results, before: Results) -> tuple[figures.Table, figures.Table]:
    """A figure of each attempt in two results, over the same tasks.

    Raises:
        BadResults: it is none, or they are not about the same.
    """
    entry, _, name = _split(results, figure)
    rows = paired_rows(before, results, entry)
    try:
        was, now = (figures.table_of(of, name) for of in rows)
    except KeyError:
        told = ", ".join(figures.names(rows[0]))
        raise BadResults(
            f"{figure!r} is not a figure of each attempt in {before.folder} and {results.folder}, "
            f"so they cannot be compared task by task. Of {entry} there are: {told}."
        ) from None
    if was.tasks != now.tasks:
        raise BadResults(
            f"{figure}: {before.folder} and {results.folder} have it for different tasks."
        )
    return was, now


def _no_worse(
    rule: NoWorse | Hardest | Front,
    figure: str,
    was: figures.Table,
    now: figures.Table,
    sign: float,
    detail: str,
    weights: np.ndarray | None = None,
    share: int = 1,
) -> Ruling:
    """By no more than the rule's margin; `sign` is -1 for a figure of which less is better.

    Args:
        rule: whose margin and confidence hold.
        figure: for a person.
        was: what to be no worse than.
        now: of the model in question.
        sign: 1 where more is better.
        detail: of the comparison, for a person.
        weights: of tasks.
        share: comparisons of which any may decide: each is held to a wider interval, so that all
            of them together are wrong no more often than one.
    """
    confidence = 1 - (1 - rule.confidence) / share
    found = paired(
        sign * was.values,
        sign * now.values,
        was.clusters,
        weights_N=weights,
        confidence=confidence,
    )
    verdict, needed = _side(found, -rule.by, 1.0), None
    if verdict is Verdict.CANNOT_TELL:
        needed = tasks_to_decide(found, -rule.by, len(was.tasks), confidence=confidence)
    return Ruling(
        rule=rule.title,
        figure=figure,
        verdict=verdict,
        found=found,
        bound=-rule.by,
        num_tasks=len(was.tasks),
        would_decide=needed,
        detail=detail,
    )


def middling(*value_NR: np.ndarray) -> np.ndarray:
    """Weights of tasks: p (1 - p), most for those passed half of the time, none for the others.

    p is over the attempts of all models alike: weights from one of them alone would let its luck
    decide which tasks count, and the other would seem better than it is.

    Args:
        value_NR: verdicts of each model on the same tasks, 0 or 1.

    Raises:
        BadResults: they are no verdicts.
    """
    rates = []
    for value in value_NR:
        if not np.isin(value, (0, 1)).all():
            raise BadResults('a rule of kind "hardest" is about verdicts: give it a pass rate.')
        rates.append(value.mean(axis=1))
    rate_N = np.mean(rates, axis=0)
    weight_N: np.ndarray = rate_N * (1 - rate_N)
    return weight_N


def _on_front(rule: Front, results: Results, home: Path) -> list[Ruling]:
    """Each figure against the result that stands at the percentile of the front."""
    stored = _stored(rule, results, home)
    names = [name.lstrip("+-") for name in rule.figures]
    sign_F = np.array([-1.0 if name.startswith("-") else 1.0 for name in rule.figures])
    point_SF = sign_F * np.array([_point(one, names) for one in stored])
    on_front = front(point_SF)
    found = []
    for place, name in enumerate(names):
        order = sorted(on_front, key=lambda one, place=place: point_SF[one, place])  # type: ignore[misc]
        # whichever is chosen, and for whichever figure, chance must not choose an alarm
        chosen = stored[order[int(rule.percentile / 100 * (len(order) - 1))]]
        was, now = _pair(name, results, chosen)
        found.append(
            _no_worse(
                rule,
                name,
                was,
                now,
                float(sign_F[place]),
                f"than {chosen.folder.name}, on a front of {len(order)}",
                share=len(names) * len(stored),
            )
        )
    return found


def front(point_SF: np.ndarray) -> list[int]:
    """Numbers of the points that no other is as good as in every figure and better in one.

    Args:
        point_SF: [S, F] results by figures; more is better.
    """
    return [
        number
        for number, point in enumerate(point_SF)
        if not any((other >= point).all() and (other > point).any() for other in point_SF)
    ]


def _stored(rule: Front, results: Results, home: Path) -> Sequence[Results]:
    """Those that the rule's patterns match and that have its entries, but the one in question."""
    own = results.folder.resolve()
    entries = {name.lstrip("+-").partition("/")[0] for name in rule.figures}
    folders = {
        path.resolve(): path
        for pattern in rule.results
        for path in sorted(map(Path, glob(str(home / pattern))))
        if path.is_dir() and path.resolve() != own
    }
    found = [one for one in map(Results, folders.values()) if entries <= set(one.entries())]
    if len(found) < rule.least:
        raise BadResults(
            f"rule {rule.title!r}: {len(found)} stored results match {', '.join(rule.results)} in "
            f"{home.resolve()} and have {', '.join(sorted(entries))}; a front wants {rule.least} "
            "at least."
        )
    return found


def _point(stored: Results, names: Sequence[str]) -> list[float]:
    stored.require_whole()
    return [figure_of(stored, name, 0.95)[0].mean for name in names]
