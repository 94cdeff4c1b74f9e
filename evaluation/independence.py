"""Are several runs several samples? Whoever sampled with one seed has one run, copied.

Replies are compared byte by byte. Two runs that agree on every task where other pairs of runs do
not are copies; all runs agreeing on every task are copies too, or the model is certain of
everything. From the replies alone nobody can tell which of the two, and either way one run says as
much as all of them: an interval over such runs is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations

ALARM = 1e-4
"""Chance, over all pairs of runs, that fair runs are taken for copies."""


def copies(replies_N_R: Sequence[Sequence[str]], *, temperature: float) -> str:
    """Why these runs are not independent samples; empty where nothing speaks against it.

    Args:
        replies_N_R: what was replied to each of N tasks in each of R runs.
        temperature: that was asked for.

    Example:
        copies([["4", "5"], ["7", "7"]], temperature=1.0)   # ""
    """
    num_runs = len(replies_N_R[0]) if replies_N_R else 0
    if num_runs < 2 or temperature == 0:
        return ""
    num_tasks = len(replies_N_R)
    if all(len(set(replies)) == 1 for replies in replies_N_R):
        return (
            f"all {num_runs} runs are byte for byte the same on all {num_tasks} tasks at "
            f"temperature {temperature:g}: either the seeds were not heeded, or the model is "
            "certain of every word. Their interval would be over one run that was counted "
            f"{num_runs} times; --runs 1 says as much."
        )
    pairs = list(combinations(range(num_runs), 2))
    for one, other in pairs:
        if any(replies[one] != replies[other] for replies in replies_N_R):
            continue
        rest = [pair for pair in pairs if pair != (one, other)]
        # a task's own pairs say how often fair runs agree on it
        chance = sum(
            math.log((sum(r[a] == r[b] for a, b in rest) + 0.5) / (len(rest) + 1))
            for r in replies_N_R
        )
        if chance < math.log(ALARM / len(pairs)):
            return (
                f"runs {one} and {other} are byte for byte the same on all {num_tasks} tasks, and "
                f"other runs are not: one of them is a copy (fair runs do so once in "
                f"{_one_in(-chance)}). No interval is given."
            )
    return ""


def table(rows: Mapping[tuple[str, int], str]) -> list[list[str]]:
    """[N][R] from replies by (task, run), of the tasks that every run has."""
    runs = sorted({run for _, run in rows})
    tasks = sorted({task for task, _ in rows})
    return [
        [rows[task, run] for run in runs]
        for task in tasks
        if all((task, run) in rows for run in runs)
    ]


def _one_in(nats: float) -> str:
    return f"{math.exp(nats):.0f}" if nats < 20 else f"1e{nats / math.log(10):.0f}"
