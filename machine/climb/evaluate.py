"""Held-out pass rates during a climb."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Protocol

from munro.envs.problem_set import ProblemSet
from munro.evaluation.statistics import pass_at_1
from munro.machine.config import EvalConfig, RunConfig
from munro.machine.loading import BadConfig
from munro.rl.config import WHOLE
from munro.rollout.telling import figure
from munro.rollout.types import Outcome


class HeldOut(Protocol):
    """Problem workers, as far as evaluation goes."""

    def evaluate(self, config: EvalConfig, max_response_tokens: int) -> Sequence[Outcome]:
        """`config.runs` graded attempts at each of `config.num_tasks` held-out tasks."""
        ...


def require_evaluations(config: RunConfig, problems: ProblemSet) -> None:
    """Refuse what could not be evaluated, or what would never be a best checkpoint.

    Raises:
        BadConfig: `checkpoint.best` is the figure of an environment that is not evaluated.
        BadEnvironment: an environment has no held-out tasks.
    """
    if not config.eval.every_steps:
        return
    problems.held_out(1)
    names, figure = problems.held_out_names, config.checkpoint.best
    known = [f"eval/{name}/pass_rate" for name in names] if is_told_by_name(config) else []
    if figure and figure not in (WHOLE, *known):
        others = f"; of one environment there are {', '.join(known)}" if known else ""
        raise BadConfig(
            f'checkpoint.best = "{figure}" is no figure of this climb: "{WHOLE}" is that of all '
            f"held-out tasks{others}."
        )


def is_told_by_name(config: RunConfig) -> bool:
    """Whether held-out figures are given for each environment by its name."""
    return bool(config.eval.env) or len(config.env) > 1


def held_out(workers: HeldOut, config: RunConfig, stage: int) -> Sequence[Outcome]:
    """The attempts at the held-out tasks, under the stage's cap."""
    return workers.evaluate(config.eval, config.length.stages[stage])


def held_out_metrics(groups: Sequence[Outcome], *, by_name: bool = False) -> dict[str, float]:
    """Figures for one line of metrics: pass rate, its 95% interval, response length.

    Args:
        groups: the attempts at each task.
        by_name: give those of each environment too, as "eval/NAME/...".
    """
    found = _figures(groups, "eval")
    for name in sorted({group.env for group in groups}) if by_name else ():
        found |= _figures([one for one in groups if one.env == name], f"eval/{name}")
    return found


def _figures(groups: Sequence[Outcome], prefix: str) -> dict[str, float]:
    estimate = pass_at_1(verdicts(groups))
    return {
        f"{prefix}/pass_rate": estimate.mean,
        f"{prefix}/pass_rate_low": estimate.low,
        f"{prefix}/pass_rate_high": estimate.high,
        f"{prefix}/response_length": fmean(
            length for group in groups for length in figure(group, "sampled")
        ),
    }


def verdicts(groups: Sequence[Outcome]) -> list[list[bool]]:
    """[N, R] whether each attempt at each task passed."""
    return [[bool(solved) for solved in figure(group, "solved")] for group in groups]
