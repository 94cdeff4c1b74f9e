"""What the rollout side hands to the learner: groups of graded attempts, or why there is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from statistics import fmean

from munro.envs.types import KeptTokens, Task, Trajectory
from munro.rewards.combine.compose import RewardBreakdown
from munro.rewards.types import Grade


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One graded trajectory."""

    trajectory: Trajectory
    grade: Grade
    reward: RewardBreakdown

    @property
    def to_read(self) -> Attempt:
        """The same without nucleus and routed experts: most of its bytes, and for a learner."""
        told = self.trajectory
        nothing = KeptTokens.nothing(len(told.token_ids))
        return replace(self, trajectory=replace(told, kept=nothing, routed_experts=None))


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """All graded attempts at one task."""

    index: int
    """Place of the task in the problem set's stream: what the journal and the seeds key on."""
    task: Task
    attempts: tuple[Attempt, ...]
    early_pass_rate: float
    """Pass rate of the first `num_early` attempts, before the gates."""
    num_unscored: int = 0
    """Attempts that got no grade and had to be made again."""
    num_resumed: int = 0
    """Times that an attempt went on from where it was saved, after its machinery had failed."""
    detail: str = ""
    """The last failure among those, in one line, naming the boundary it broke at."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Wall seconds that an attempt spent on average, by phase ("generate", "grade")."""

    @property
    def pass_rate(self) -> float:
        """Share of attempts that passed (report, section 3.1.2); in [0, 1]."""
        return fmean(attempt.grade.solved for attempt in self.attempts)

    @property
    def to_read(self) -> Group:
        """The same with attempts that are for people; see `Attempt.to_read`."""
        return replace(self, attempts=tuple(attempt.to_read for attempt in self.attempts))

    @property
    def oldest_version(self) -> int:
        """The oldest policy that wrote any token of the group."""
        return min(attempt.trajectory.oldest_version for attempt in self.attempts)


class Reason(StrEnum):
    """Why a task was given up."""

    TOO_HARD_EARLY = "too_hard_early"
    TOO_EASY_EARLY = "too_easy_early"
    TOO_HARD = "too_hard"
    TOO_EASY = "too_easy"
    TOO_LONG = "too_long"
    """The prompt leaves no room for a response in the model's context."""
    UNSCORED = "unscored"
    """Retries ran out: servers, sandbox, grader or the environment itself failed."""

    @property
    def is_gate(self) -> bool:
        """The task was measured and found uninformative: not a fault of any machinery."""
        return self in GATES


GATES = frozenset({Reason.TOO_HARD_EARLY, Reason.TOO_EASY_EARLY, Reason.TOO_HARD, Reason.TOO_EASY})


@dataclass(frozen=True, slots=True, kw_only=True)
class Abandoned:
    """A task that yields no group, with its reason. Never scored as wrong."""

    index: int
    task: Task
    reason: Reason
    detail: str = ""
    """The last failure of an attempt that got no grade, in one line, naming where it broke; or,
    of a prompt that is too long, by how much."""
    pass_rate: float | None = None
    """Measured before giving up, where any attempt was graded."""
    num_attempts: int = 0
    num_unscored: int = 0
    num_sampled: int = 0
    """Policy tokens spent on it."""
    attempts: tuple[Attempt, ...] = ()
    """Some of those that got a grade, for people to read; none where `rollout.keep_dropped` is 0.
    Without nucleus and routed experts, which only a learner needs."""

    @property
    def as_group(self) -> Group:
        """What is there of it, for the store. Its pass rate is that of `attempts` alone."""
        return Group(
            index=self.index,
            task=self.task,
            attempts=self.attempts,
            early_pass_rate=self.pass_rate or 0.0,
            num_unscored=self.num_unscored,
            detail=self.detail,
        )
