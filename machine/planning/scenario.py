"""What a simulated climb is told, and what it comes to."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import log
from random import Random
from statistics import fmean

from munro.machine.planning import cost
from munro.machine.planning.job import Job


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A climb in numbers; seconds and tokens."""

    servers: int
    slots: int
    """Attempts that one server decodes at once."""
    token_s: float
    """Of a token of every attempt in a server, and"""
    token_more_s: float
    """more for each attempt that shares it."""
    num_early: int
    num_later: int
    """Attempts after the first gate."""
    pass_early: float
    pass_full: float
    num_groups: int
    every_steps: int
    max_staleness: int
    """In weight updates; 0 for waves that the learner waits for."""
    in_flight: int
    """Groups open at once; without waves."""
    trained_s: float
    """Of the learner, a token that it learns from,"""
    step_s: float = 0.0
    """and of a step whatever its tokens."""
    sync_s: float = 0.0
    """That a server stands still for a weight update."""
    swaps_in_flight: bool = True
    """Attempts keep running over an update; else a server ends those it has first."""
    save_every: int = 100
    stall_s: float = 0.0
    """Of the learner, for a checkpoint."""
    mean: float = 1.0
    """Of a response's tokens before the cap."""
    spread: float = 0.0
    most_tokens: float = 1e9
    """The cap."""
    recorded: tuple[float, ...] = ()
    """Lengths to draw from instead."""
    server_failures_per_s: float = 0.0
    """Of one server."""
    server_down_s: float = 0.0
    learner_failures_per_s: float = 0.0
    """Of all ranks together."""
    learner_down_s: float = 0.0
    num_steps: int = 60
    warm_up: int = 20
    """Of these steps, those that no figure counts: everything begins empty, with short ones."""
    most_s: float = 30 * 86_400.0
    gpus: int = 1
    seed: int = 0

    @property
    def mu(self) -> float:
        """Mean of the log length."""
        return log(self.mean) - self.spread**2 / 2

    def length(self, random: Random) -> float:
        """Of one response."""
        if self.recorded:
            return random.choice(self.recorded)
        if not self.spread:
            return min(self.mean, self.most_tokens)
        return min(random.lognormvariate(self.mu, self.spread), self.most_tokens)


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What happened, as it happens; figures once it is finished."""

    steps: list[tuple[float, float, float, list[int]]] = field(default_factory=list)
    """End, seconds of computing, tokens, and staleness of each group, of the steps that count."""
    attempts: int = 0
    tokens: float = 0.0
    sojourn_s: float = 0.0
    """Of all attempts that ended, added up."""
    dropped: int = 0
    """Groups, for their age."""
    redone: int = 0
    """Steps that a failure of the learner took back."""
    lost_tokens: float = 0.0
    """That went with a server."""
    area: float = 0.0
    """Attempts under way, over time."""
    wall_s: float = 0.0
    counted: int = 0
    """Steps of the warm-up, which no figure counts."""
    gpus: int = 1

    def attempt(self, tokens: float, seconds: float) -> None:
        """One ended."""
        self.attempts += 1
        self.tokens += tokens
        self.sojourn_s += seconds

    def step(self, end: float, took: float, tokens: float, ages: list[int]) -> None:
        """One was taken."""
        self.steps.append((end, took, tokens, ages))

    def again(self, steps: int) -> None:
        """So many of the last are lost and must be taken again."""
        self.redone += steps
        del self.steps[len(self.steps) - steps :]

    def finished(self, now: float, area: float, scenario: Scenario) -> Outcome:
        """Itself, with the end of time told."""
        self.wall_s, self.area, self.gpus = now, area, scenario.gpus
        warm = min(scenario.warm_up, max(len(self.steps) - 2, 0))
        self.counted = warm
        return self

    @property
    def _span_s(self) -> float:
        """From the last step of the warm-up to the last step."""
        before = self.counted
        began = self.steps[before - 1][0] if before else 0.0
        return max(self.steps[-1][0] - began, 1e-12)

    @property
    def steps_per_hour(self) -> float:
        """Optimizer steps; 0 where none was taken in time."""
        return 3600 * len(self.steps[self.counted :]) / self._span_s if self.steps else 0.0

    @property
    def learner_busy(self) -> float:
        """Share of the time that the learner computed steps that count."""
        taken = sum(took for _, took, _, _ in self.steps[self.counted :])
        return taken / self._span_s if self.steps else 0.0

    @property
    def ages(self) -> list[int]:
        """Staleness of every group that was trained on, in weight updates, in order of size."""
        return sorted(age for *_, ages in self.steps[self.counted :] for age in ages)

    @property
    def staleness(self) -> tuple[float, int]:
        """Mean, and the 99th of a hundred."""
        ages = self.ages or [0]
        return fmean(ages), ages[min(len(ages) - 1, int(0.99 * len(ages)))]

    @property
    def dropped_share(self) -> float:
        """Of groups that passed the gates, those dropped for their age."""
        trained = sum(len(ages) for *_, ages in self.steps)
        return self.dropped / max(trained + self.dropped, 1)

    @property
    def lost_share(self) -> float:
        """Of sampled tokens, those that went with a server."""
        return self.lost_tokens / max(self.tokens + self.lost_tokens, 1.0)

    @property
    def attempts_under_way(self) -> float:
        """In the mean."""
        return self.area / max(self.wall_s, 1e-12)

    @property
    def gpu_hours_per_step(self) -> float:
        """What a step costs."""
        return self.gpus / self.steps_per_hour if self.steps_per_hour else float("inf")


def scenario_of(job: Job, *, num_steps: int = 60) -> Scenario:
    """The climb that a plan is for, at the mean of the published failure rates' logarithms."""
    config, rollout, plan = job.config, job.config.rollout, job.plan
    a, b = cost.token_ms(job)
    low, high = job.hardware.failure_gpu_hours
    per_gpu_s = 1 / (3600 * (low * high) ** 0.5)
    return Scenario(
        servers=rollout.servers,
        slots=max(1, cost.slots(job) // rollout.servers),
        token_s=a / 1e3,
        token_more_s=b / 1e3 / rollout.tensor_parallel,
        num_early=rollout.num_early,
        num_later=rollout.group_size - (rollout.num_early if rollout.reuse_early else 0),
        pass_early=plan.pass_early,
        pass_full=plan.pass_full,
        num_groups=config.batch.num_groups,
        every_steps=config.sync.every_steps,
        max_staleness=config.sync.max_staleness,
        in_flight=cost.groups_in_flight(job),
        trained_s=1 / (cost.learner_tokens_per_s(job) * job.cut.ranks),
        sync_s=cost.transfer(job).estimate_s,
        swaps_in_flight=config.sync.in_flight,
        save_every=config.checkpoint.every_steps,
        stall_s=cost.saving(job).stall_s,
        mean=job.lengths.mean,
        spread=job.lengths.spread,
        most_tokens=job.lengths.cap,
        server_failures_per_s=per_gpu_s * rollout.tensor_parallel,
        server_down_s=plan.server_down_s,
        learner_failures_per_s=per_gpu_s * job.cut.ranks,
        learner_down_s=plan.learner_down_s,
        num_steps=num_steps,
        warm_up=num_steps // 2,
        gpus=job.gpus,
        seed=plan.seed,
    )
