"""What came back from the problem workers since the last look, by environment and in all."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from munro.rollout.types import Outcome, Reason


@dataclass(slots=True)
class Tally:
    """Counts and sums; those of several environments add up to those of all."""

    groups: int = 0
    stale: int = 0
    attempts: int = 0
    """That were graded."""
    unscored: int = 0
    passed: float = 0.0
    sampled_tokens: int = 0
    abandoned: Counter[Reason] = field(default_factory=Counter)

    def add(self, outcome: Outcome) -> None:
        """Count what came of one task."""
        self.unscored += outcome.num_unscored
        self.sampled_tokens += outcome.num_sampled
        if outcome.reason is None:
            self.groups += 1
        else:
            self.abandoned[outcome.reason] += 1
        if outcome.pass_rate is not None:
            self.attempts += outcome.num_attempts
            self.passed += outcome.pass_rate * outcome.num_attempts

    def metrics(self) -> dict[str, float]:
        """Rates and counts under the naming scheme."""
        found: dict[str, float] = {
            f"groups/abandoned/{reason}": n for reason, n in sorted(self.abandoned.items())
        }
        found["groups/accepted"] = self.groups
        found["groups/stale"] = self.stale
        found["rollout/tokens"] = self.sampled_tokens
        found["rollout/unscored"] = self.unscored / max(self.attempts + self.unscored, 1)
        if self.attempts:
            found["pass_rate/sampled"] = self.passed / self.attempts
        return found


def together(tallies: Iterable[Tally]) -> Tally:
    """All of them as one."""
    whole = Tally()
    for one in tallies:
        whole.groups += one.groups
        whole.stale += one.stale
        whole.attempts += one.attempts
        whole.unscored += one.unscored
        whole.passed += one.passed
        whole.sampled_tokens += one.sampled_tokens
        whole.abandoned += one.abandoned
    return whole


class Tallies:
    """A tally for each environment.

    Example:
        tallies = Tallies()
        tallies.of("arithmetic").add(group)
        tallies.metrics(several=False)
    """

    def __init__(self) -> None:
        self._by_name: defaultdict[str, Tally] = defaultdict(Tally)

    def of(self, env: str) -> Tally:
        """The environment's own."""
        return self._by_name[env]

    @property
    def whole(self) -> Tally:
        """All of them as one."""
        return together(self._by_name.values())

    def metrics(self, *, several: bool) -> dict[str, float]:
        """Figures of all, and where there are several environments of each as NAME/ENVIRONMENT."""
        return self.whole.metrics() | (
            of_each({env: tally.metrics() for env, tally in sorted(self._by_name.items())})
            if several
            else {}
        )


def of_each(figures: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Figures by environment as one flat mapping: NAME/ENVIRONMENT.

    Example:
        of_each({"math": {"pass_rate/trained": 0.5}})  # {"pass_rate/trained/math": 0.5}
    """
    return {f"{name}/{env}": value for env, own in figures.items() for name, value in own.items()}
