"""Held-out pass rates during a climb."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Protocol

from munro.evaluation.statistics import pass_at_1
from munro.machine.config import EvalConfig, RunConfig
from munro.rollout.types import Group


class HeldOut(Protocol):
    """Problem workers, as far as evaluation goes."""

    def evaluate(self, config: EvalConfig, max_response_tokens: int) -> Sequence[Group]:
        """`config.runs` graded attempts at each of `config.num_tasks` held-out tasks."""
        ...


def held_out(workers: HeldOut, config: RunConfig, stage: int) -> Sequence[Group]:
    """The attempts at the held-out tasks, under the stage's cap."""
    return workers.evaluate(config.eval, config.length.stages[stage])


def held_out_metrics(groups: Sequence[Group]) -> dict[str, float]:
    """Figures for one line of metrics: pass rate, its 95% interval, response length."""
    estimate = pass_at_1(verdicts(groups))
    attempts = [attempt for group in groups for attempt in group.attempts]
    return {
        "eval/pass_rate": estimate.mean,
        "eval/pass_rate_low": estimate.low,
        "eval/pass_rate_high": estimate.high,
        "eval/response_length": fmean(one.trajectory.num_sampled for one in attempts),
    }


def verdicts(groups: Sequence[Group]) -> list[list[bool]]:
    """[N, R] whether each attempt at each task passed."""
    return [[attempt.grade.solved for attempt in group.attempts] for group in groups]
