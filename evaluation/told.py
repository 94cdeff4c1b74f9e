"""Results and comparisons as lines that a person reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import fmean

from munro.evaluation import figures
from munro.evaluation.compare import Comparison
from munro.evaluation.parts import figures_by_part
from munro.evaluation.statistics import Estimate, pass_at_k
from munro.evaluation.types import AttemptRow

SAID = (figures.PASS_RATE, "num_tokens", "truncated")
"""Figures that have a line of their own."""


def entry_lines(
    rows: Sequence[AttemptRow], *, k: int = 0, num_trained: int = 0
) -> Iterator[tuple[str, str]]:
    """What `munro eval` says of one entry: name and figure.

    Args:
        rows: its attempts.
        k: of pass@k; 0 leaves it out.
        num_trained: tasks that are training tasks as well, and so are not held out.
    """
    scored = [row for row in rows if not row.failed]
    num_tasks, runs = len({row.task for row in rows}), 1 + max(row.run for row in rows)
    held_out = f"{num_tasks - num_trained} held out"
    if num_trained:
        held_out += f", {num_trained} that training has too (tasks('test') gives them again)"
    yield "tasks", f"{held_out}, {runs} attempts each"
    if failed := [row for row in rows if row.failed]:
        yield (
            "not scored",
            f"{len(failed)} attempts: {failed[0].failed}; the same command tries again",
        )
    if not scored:
        return
    yield "pass@1", f"{figures.pass_rate(rows)} (95% interval over {_over(rows)})"
    if k and len(scored) == num_tasks * runs:
        table = figures.table_of(scored, figures.PASS_RATE)
        yield f"pass@{k}", f"{pass_at_k(table.values, k):.3f}"
    lengths = [row.num_tokens for row in scored]
    yield "response length", f"{fmean(lengths):.1f} tokens on average, {max(lengths)} at most"
    yield "truncated", f"{fmean(row.ending.startswith('truncated') for row in scored):.1%}"
    found = {**figures.figures(rows), **figures_by_part(rows)}
    if any(row.reward != row.passed for row in scored):  # it says more than the verdict
        yield "reward", str(found["reward"])
    for name, estimate in found.items():
        if name not in figures.OF_ATTEMPTS:
            yield name, str(estimate)


def _over(rows: Sequence[AttemptRow]) -> str:
    clusters = {row.cluster for row in rows if row.cluster}
    return f"{len(clusters)} clusters of tasks" if clusters else "tasks"


def comparison_lines(found: Sequence[Comparison], *, most_flips: int = 5) -> Iterator[str]:
    """What `munro eval compare` says."""
    for one in found:
        verdict = "differs" if one.is_significant else "no difference that can be told"
        yield f"{one.entry}/{one.figure}: {one.b} against {one.a}, {one.num_tasks} tasks"
        yield f"  {one.a:<24} {one.before}"
        yield f"  {one.b:<24} {one.after}"
        yield f"  {'difference, paired':<24} {one.difference}"
        told = f"{one.p:.2g}, of {len(found)} comparisons" if len(found) > 1 else f"{one.p:.2g}"
        yield f"  {'p (Holm)':<24} {told}: {verdict}"
        yield f"  {'80% sure to be found':<24} a difference of {detectable(one.difference):.3f}"
        if one.flips:
            better = sum(flip.after > flip.before for flip in one.flips)
            worse = len(one.flips) - better
            yield f"  {'flipped':<24} {better} tasks up, {worse} down"
        for flip in one.flips[:most_flips]:
            yield f"    {flip.task}: {flip.before:.2f} -> {flip.after:.2f}"


def detectable(found: Estimate) -> float:
    """The true difference that such a comparison would find in 80% of tries."""
    # an interval of 1.96 standard errors, and 0.84 more of them
    return (found.high - found.low) / 2 * (1.96 + 0.84) / 1.96
