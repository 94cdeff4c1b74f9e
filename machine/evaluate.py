"""Held-out pass rates: during a climb, and by `munro eval`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Protocol

from machine.config import EvalConfig, RunConfig
from machine.statistics import pass_at_1, pass_at_k
from rollout.types import Attempt


class HeldOut(Protocol):
    """Problem workers, as far as evaluation goes."""

    def evaluate(self, config: EvalConfig, max_response_tokens: int) -> Sequence[Sequence[Attempt]]:
        """`config.runs` graded attempts at each of `config.num_tasks` held-out tasks."""
        ...


def held_out_metrics(held_out: HeldOut, config: RunConfig, stage: int) -> dict[str, float]:
    """Figures for one line of metrics: pass rate, its 95% interval, response length."""
    attempts = held_out.evaluate(config.eval, config.length.stages[stage])
    passed = verdicts(attempts)
    estimate = pass_at_1(passed, num_resamples=2000)
    return {
        "eval/pass_rate": estimate.mean,
        "eval/pass_rate_low": estimate.low,
        "eval/pass_rate_high": estimate.high,
        "eval/response_length": fmean(a.trajectory.num_sampled for task in attempts for a in task),
    }


def verdicts(attempts: Sequence[Sequence[Attempt]]) -> list[list[bool]]:
    """[N, R] whether each attempt at each task passed."""
    return [[attempt.grade.solved for attempt in task] for task in attempts]


def summary(attempts: Sequence[Sequence[Attempt]], k: int) -> Mapping[str, str]:
    """What `munro eval` prints: name to figure.

    Raises:
        ValueError: `k` is more than the attempts at each task.
    """
    passed = verdicts(attempts)
    endings = [attempt.trajectory.ending for task in attempts for attempt in task]
    lengths = [attempt.trajectory.num_sampled for task in attempts for attempt in task]
    found = {
        "tasks": f"{len(passed)} held out, {len(passed[0])} attempts each",
        "pass@1": f"{pass_at_1(passed)} (95% interval, bootstrap over tasks)",
    }
    if k:
        found[f"pass@{k}"] = f"{pass_at_k(passed, k):.3f}"
    found["response length"] = f"{fmean(lengths):.1f} tokens on average, {max(lengths)} at most"
    found["truncated"] = f"{fmean(ending.is_truncated for ending in endings):.1%}"
    return found
