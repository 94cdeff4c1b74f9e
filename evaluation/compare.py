"""Two or more results over the same tasks: differences task by task, and which tasks flipped.

A ──┬── paired ──► B minus A, with an interval     all of one table corrected together (Holm)
    └── paired ──► C minus A
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from munro.evaluation import figures
from munro.evaluation.files import differences
from munro.evaluation.results import Results
from munro.evaluation.statistics import Difference, Estimate, holm, paired
from munro.evaluation.types import AttemptRow, BadResults

MOST_NAMED = 3
"""Names in a sentence."""
FLIPPED = 0.5
"""Share of a task's attempts by which two models must differ for it to count as flipped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flip:
    """A task that one of two models passes and the other does not, on most attempts.

    Example:
        Flip(task="17+25", before=1.0, after=0.0)
    """

    task: str
    before: float
    after: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One figure of one entry, of two results."""

    entry: str
    figure: str
    a: str
    """Name of the result that the other is compared with."""
    b: str
    num_tasks: int
    before: Estimate
    after: Estimate
    difference: Difference
    """B minus A."""
    p: float
    """As if this comparison were the only one of the table (Holm)."""
    flips: tuple[Flip, ...] = ()
    """Of pass rates: the widest first."""

    @property
    def is_significant(self) -> bool:
        """Less than one table in twenty of equals shows any such difference."""
        return self.p < 0.05


def compare(
    results: Sequence[Results], *, figure: str = figures.PASS_RATE, entry: str = ""
) -> list[Comparison]:
    """All others against the first, entry by entry.

    Args:
        results: at least two.
        figure: of an attempt: the pass rate, another of `figures.OF_ATTEMPTS`, or "GRADER/PART".
        entry: that alone; all of them unless one is named.

    Raises:
        BadResults: one is not whole, or they are not about the same tasks sampled the same way.
    """
    if len(results) < 2:
        raise BadResults("a comparison takes two results or more.")
    for one in results:
        one.require_whole()
    first, *others = results
    entries = [entry] if entry else common_entries(results)
    found = [
        _compared(name, figure, first, other, labels)
        for name in entries
        for other, labels in zip(others, _names(results)[1:], strict=True)
    ]
    a = _names(results)[0]
    ps = holm([one.difference.p for one in found])
    return [replace(one, a=a, p=p) for one, p in zip(found, ps, strict=True)]


def common_entries(results: Sequence[Results]) -> list[str]:
    """Entries of all of them, in the order of the first.

    Raises:
        BadResults: one of them has an entry that another has not.
    """
    first, *others = results
    for other in others:
        mine, theirs = first.entries(), other.entries()
        if lone := [name for name in mine if name not in theirs]:
            raise BadResults(_lone_entry(lone, first, other))
        if lone := [name for name in theirs if name not in mine]:
            raise BadResults(_lone_entry(lone, other, first))
    return first.entries()


def paired_rows(a: Results, b: Results, entry: str) -> tuple[list[AttemptRow], list[AttemptRow]]:
    """The attempts of one entry in two results, proven to be about the same.

    Raises:
        BadResults: names the tasks, or the keys of sampling, in which they differ.
    """
    pair = a.rows(entry), b.rows(entry)
    for rows, one in zip(pair, (a, b), strict=True):
        if not rows:
            there = ", ".join(one.entries()) or "none"
            raise BadResults(f"{one.folder} has no entry {entry!r}. There are: {there}.")
    if told := differences(a.asked(entry), b.asked(entry)):
        raise BadResults(
            f"{a.folder} and {b.folder} did not sample {entry} alike ({'; '.join(told)}): "
            "evaluate both with the same suite."
        )
    mine, theirs = ({row.task for row in rows} for rows in pair)
    if mine != theirs:
        told = [
            f"{len(lone)} tasks are in {one.folder} alone ({_some(sorted(lone))})"
            for lone, one in ((mine - theirs, a), (theirs - mine, b))
            if lone
        ]
        raise BadResults(
            f"{entry}: {'; '.join(told)}. Only results over the same tasks can be compared."
        )
    return pair


def flips(before: figures.Table, after: figures.Table) -> tuple[Flip, ...]:
    """Tasks whose pass rates differ by `FLIPPED` at least, the widest first."""
    rates = zip(before.tasks, before.values.mean(axis=1), after.values.mean(axis=1), strict=True)
    found = [
        Flip(task=task, before=float(was), after=float(now))
        for task, was, now in rates
        if abs(now - was) >= FLIPPED
    ]
    return tuple(sorted(found, key=lambda flip: (-abs(flip.after - flip.before), flip.task)))


def _compared(entry: str, figure: str, a: Results, b: Results, b_name: str) -> Comparison:
    rows = paired_rows(a, b, entry)
    before, after = (_table(of, figure, one) for of, one in zip(rows, (a, b), strict=True))
    if before.tasks != after.tasks:
        raise BadResults(f"{entry}/{figure}: the two results have it for different tasks.")
    difference = paired(before.values, after.values, before.clusters)
    of_passing = figure == figures.PASS_RATE
    return Comparison(
        entry=entry,
        figure=figure,
        a="",
        b=b_name,
        num_tasks=len(before.tasks),
        before=before.estimate(),
        after=after.estimate(),
        difference=difference,
        p=difference.p,
        flips=flips(before, after) if of_passing else (),
    )


def _table(rows: Sequence[AttemptRow], figure: str, of: Results) -> figures.Table:
    try:
        return figures.table_of(rows, figure)
    except KeyError:
        raise BadResults(
            f"{of.folder}: no attempt has a figure {figure!r}. There are: "
            f"{', '.join(figures.names(rows))}."
        ) from None


def _names(results: Sequence[Results]) -> list[str]:
    """Short names, told apart by as much of the path as that takes."""
    for deep in range(1, 1 + max(len(one.folder.parts) for one in results)):
        found = ["/".join(one.folder.parts[-deep:]) for one in results]
        if len(set(found)) == len(found):
            return found
    return [str(one.folder) for one in results]


def _lone_entry(lone: Sequence[str], has: Results, lacks: Results) -> str:
    return (
        f"{lacks.folder} has no entry {_some(lone)}, which {has.folder} has: name one that all "
        "have with --entry, or evaluate with the same suite."
    )


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:MOST_NAMED])
    return shown if len(names) <= MOST_NAMED else f"{shown} and {len(names) - MOST_NAMED} more"
