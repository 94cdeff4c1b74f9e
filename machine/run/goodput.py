"""Where a climb's wall-clock went, by the ledger that pre-training keeps its own in.

Every line ends a span that began where the line before it ended, whichever process wrote that. What
a span was worth is settled when the ledger is read: all that was spent on a step which the climb
went back behind is recomputation. What is left of the time for steps, over the wall-clock, is the
effective training time ratio, as ByteRobust and others have it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from pathlib import Path

from munro.base_model.training.goodput import NS, Ledger
from munro.base_model.training.records import Records
from munro.rl.batch import StepReport
from munro.rl.clip import Clip
from munro.rl.ports import GroupSource, Learner, Publisher
from munro.rl.state import ClimbState, Cursor
from munro.rollout.types import Outcome


class Span(StrEnum):
    """What the climb was at; "began" and "down" say that no process of it was there."""

    START = "start"
    """Imports, and all processes coming up."""
    END = "ending"
    """All processes going down."""
    WAIT = "waiting"
    """For groups: the rollout side is what the climb is waiting for."""
    STEP = "stepping"
    """The optimizer's step, its batch included."""
    SYNC = "syncing"
    """A weight update, with its proof."""
    STORE = "storing"
    """The step's rollouts."""
    EVALUATE = "evaluating"
    """Held-out tasks."""
    SAVE = "saving"
    """Checkpoints."""
    RECOVER = "recovering"
    """From a role's loss, until the climb goes on. The line's phase is the role."""


OF_STEPS = (Span.WAIT, Span.STEP, Span.SYNC, Span.STORE, Span.EVALUATE)


class Spans:
    """Marks the spans of a climb in its ledger, and wraps what the loop calls so that it does.

    Example:
        spans = Spans(Ledger(run.path / LEDGER))
        climb(config, state, spans.groups(source), spans.learner(trainer), ...)
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.step = 0
        """That the loop is at."""

    def mark(self, span: Span, *, role: str = "") -> None:
        """A span ends now."""
        self._ledger.mark(span, phase=role, step=self.step)

    def goes_on(self, span: Span, after: int, *, role: str = "") -> None:
        """A start or a recovery ends now; the climb goes on after that step."""
        self.step = after
        self.mark(span, role=role)

    def groups(self, source: GroupSource) -> GroupSource:
        """The source, with its waits marked."""
        return _Groups(self, source)

    def learner(self, learner: Learner) -> Learner:
        """The learner, with its steps marked."""
        return _Learner(self, learner)

    def publisher(self, publisher: Publisher) -> Publisher:
        """The publisher, with its updates marked."""
        return _Publisher(self, publisher)


@dataclass(frozen=True, slots=True)
class _Groups:
    spans: Spans
    source: GroupSource

    def take(self, num_groups: int, state: ClimbState) -> Sequence[Outcome]:
        self.spans.step = state.step + 1
        found = self.source.take(num_groups, state)
        self.spans.mark(Span.WAIT)
        return found

    def settle(self, groups: Sequence[Outcome], step: int) -> Cursor:
        return self.source.settle(groups, step)

    def metrics(self) -> Mapping[str, float]:
        return self.source.metrics()

    def close(self) -> None:
        self.source.close()


@dataclass(frozen=True, slots=True)
class _Learner:
    spans: Spans
    one: Learner

    def step(self, groups: Sequence[Outcome], *, clip: Clip) -> StepReport:
        report = self.one.step(groups, clip=clip)
        self.spans.mark(Span.STEP)
        return report


@dataclass(frozen=True, slots=True)
class _Publisher:
    spans: Spans
    one: Publisher

    def publish(self, version: int) -> Mapping[str, float]:
        figures = self.one.publish(version)
        self.spans.mark(Span.SYNC)
        return figures


@dataclass(frozen=True, slots=True, kw_only=True)
class ClimbGoodput:
    """Wall-clock in nanoseconds, in parts that add up to `wall`.

    Example:
        read_climb(run.path / LEDGER).ettr
    """

    stepping: int = 0
    waiting: int = 0
    syncing: int = 0
    storing: int = 0
    evaluating: int = 0
    saving: int = 0
    recovering: int = 0
    recomputing: int = 0
    """All that was spent on steps behind which the climb went back."""
    start: int = 0
    ending: int = 0
    down: int = 0
    recoveries: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """By role, how many and how long."""

    @property
    def wall(self) -> int:
        """From the first process's start to the last span's end."""
        return sum(getattr(self, one.name) for one in fields(self) if one.name != "recoveries")

    @property
    def ettr(self) -> float:
        """Share of the wall-clock that went into steps which count; 0 before the first."""
        spent = self.stepping + self.waiting + self.syncing + self.storing + self.evaluating
        return spent / self.wall if self.wall else 0.0

    def table(self) -> str:
        """The parts, as a person reads them."""
        rows = [
            ("stepping", self.stepping),
            ("waiting for groups", self.waiting),
            ("syncing", self.syncing),
            ("storing rollouts", self.storing),
            ("evaluating", self.evaluating),
            ("saving", self.saving),
            ("recovering", self.recovering),
            ("recomputing", self.recomputing),
            ("starting, ending", self.start + self.ending),
            ("nothing ran", self.down),
            ("wall-clock", self.wall),
        ]
        lines = [
            f"{name:<19}{part / NS:>12,.1f} s{part / max(self.wall, 1):>8.1%}"
            for name, part in rows
        ]
        lines.append(f"{'in steps that count':<19}{'':>14}{self.ettr:>8.1%}")
        for role, (times, taken) in sorted(self.recoveries.items()):
            lines.append(f"  {role} lost {times} times, {taken / times / NS:.1f} s each to go on")
        return "\n".join(lines)


def read_climb(file: Path) -> ClimbGoodput:
    """What a climb's ledger comes to."""
    parts: Counter[str] = Counter()
    steps: defaultdict[int, Counter[str]] = defaultdict(Counter)
    recoveries: dict[str, tuple[int, int]] = {}
    last = 0
    for record in Records(file):
        span, taken, step = record["span"], record["at"] - (last or record["at"]), record["step"]
        last = record["at"]
        if span in OF_STEPS:
            steps[step][span] += taken
            continue
        if span != "began":
            parts[span] += taken
        if span in (Span.START, Span.RECOVER):
            for lost in [one for one in steps if one > step]:
                parts["recomputing"] += steps.pop(lost).total()
        if span == Span.RECOVER:
            times, before = recoveries.get(record["phase"], (0, 0))
            recoveries[record["phase"]] = (times + 1, before + taken)
    for spent in steps.values():
        parts.update(spent)
    return ClimbGoodput(recoveries=recoveries, **parts)
