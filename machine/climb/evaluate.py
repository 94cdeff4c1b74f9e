"""Held-out pass rates during a climb."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Protocol

from munro.evaluation.statistics import pass_at_1
from munro.machine.config import EvalConfig, RunConfig
from munro.rollout.types import Attempt


class HeldOut(Protocol):
    """Problem workers, as far as evaluation goes."""

    def evaluate(self, config: EvalConfig, max_response_tokens: int) -> Sequence[Sequence[Attempt]]:
        """`config.runs` graded attempts at each of `config.num_tasks` held-out tasks."""
        ...


def held_out_metrics(held_out: HeldOut, config: RunConfig, stage: int) -> dict[str, float]:
    """Figures for one line of metrics: pass rate, its 95% interval, response length."""
    attempts = held_out.evaluate(config.eval, config.length.stages[stage])
    passed = verdicts(attempts)
    estimate = pass_at_1(passed)
    return {
        "eval/pass_rate": estimate.mean,
        "eval/pass_rate_low": estimate.low,
        "eval/pass_rate_high": estimate.high,
        "eval/response_length": fmean(a.trajectory.num_sampled for task in attempts for a in task),
    }


def verdicts(attempts: Sequence[Sequence[Attempt]]) -> list[list[bool]]:
    """[N, R] whether each attempt at each task passed."""
    return [[attempt.grade.solved for attempt in task] for task in attempts]
