"""Held-out pass rates: during a climb, and by `munro eval`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Protocol

import click

from munro.envs.problem_set import ProblemSet
from munro.evaluation.statistics import pass_at_1, pass_at_k
from munro.machine.config import EvalConfig, RunConfig
from munro.machine.loading import BadConfig
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


def run_eval(
    model: str, env: str, tasks: int, runs: int, k: int, overrides: Sequence[tuple[str, str]]
) -> int:
    """Print how a checkpoint does on held-out tasks: those that it was climbed on, or `env`'s.

    Raises:
        BadConfig: a key is wrong, or `k` is more than `runs`.
        CheckpointError: the model's folder is missing or incomplete.
    """
    if k > runs:
        raise BadConfig(f"--k {k} needs at least as many attempts at each task, not --runs {runs}")
    from munro.base_model.checkpoint import Checkpoint
    from munro.base_model.hub import locate
    from munro.machine.climb.base import require_template
    from munro.machine.climb.cluster import start_fleet
    from munro.machine.climb.models import in_place, settle
    from munro.machine.climb.origin import evaluated, origin_of

    revision = dict(overrides).get("model.revision", "")
    overrides = [(key, value) for key, value in overrides if key != "model.revision"]
    located = locate(model, revision=revision)
    folder = Checkpoint(located.folder).require().path
    sizes = {"num_tasks": tasks, "runs": runs}
    config, said = evaluated(origin_of(folder), folder, env, sizes, overrides)
    config = in_place(config, settle(config))
    if located.repo:
        said = [f"{located.repo} at commit {located.commit}", *said]
    # loading and drawing say what is wrong with an environment before an engine has started
    problems = ProblemSet(config.env, config.seed)
    num_trained = problems.num_trained_on(problems.held_out(config.eval.num_tasks))
    require_template(Checkpoint(folder), config)
    for name, line in zip(["on", *[""] * len(said)], said, strict=False):
        click.echo(f"{name:<16} {line}")
    with (
        TemporaryDirectory(prefix="munro-eval-") as scratch,
        start_fleet(config, folder, Path(scratch), learner=False) as fleet,
    ):
        attempts = fleet.solvers.evaluate(config.eval, config.length.stages[0])
    for name, figure in summary(attempts, k, num_trained).items():
        click.echo(f"{name:<16} {figure}")
    return 0


def verdicts(attempts: Sequence[Sequence[Attempt]]) -> list[list[bool]]:
    """[N, R] whether each attempt at each task passed."""
    return [[attempt.grade.solved for attempt in task] for task in attempts]


def summary(
    attempts: Sequence[Sequence[Attempt]], k: int, num_trained: int = 0
) -> Mapping[str, str]:
    """What `munro eval` prints: name to figure.

    Args:
        attempts: [N, R] at each task.
        k: of pass@k; 0 leaves it out.
        num_trained: tasks that are training tasks as well, and so are not held out.

    Raises:
        ValueError: `k` is more than the attempts at each task.
    """
    passed = verdicts(attempts)
    endings = [attempt.trajectory.ending for task in attempts for attempt in task]
    lengths = [attempt.trajectory.num_sampled for task in attempts for attempt in task]
    held_out = f"{len(passed) - num_trained} held out"
    if num_trained:
        held_out += f", {num_trained} that training has too (tasks('test') gives them again)"
    found = {
        "tasks": f"{held_out}, {len(passed[0])} attempts each",
        "pass@1": f"{pass_at_1(passed)} (95% interval over tasks)",
    }
    if k:
        found[f"pass@{k}"] = f"{pass_at_k(passed, k):.3f}"
    found["response length"] = f"{fmean(lengths):.1f} tokens on average, {max(lengths)} at most"
    found["truncated"] = f"{fmean(ending.is_truncated for ending in endings):.1%}"
    return found
