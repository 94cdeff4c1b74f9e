"""What a climb must remember between two steps: a value, so that saving it is saving the run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from munro.rl.clip import Clip
from munro.rl.collapse import Watch
from munro.rl.config import ClipConfig, LengthConfig
from munro.rl.plugs import next_stage
from munro.rl.ranges import ranges

TURNS = 16
"""Of the last goings back, what is remembered: groups of before are long trained on or dropped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """Where the climb is in its problem set's stream of tasks.

    Example:
        Cursor(next_index=40, pending=(31, 38))   # 0..39 handed out, all but two accounted for
    """

    next_index: int = 0
    """First task that was never handed out."""
    pending: tuple[int, ...] = ()
    """Handed out, neither trained on nor given up: to be handed out again after a resume."""
    acceptance: float = 1.0
    """Smoothed share of tasks that became a group, which sizes the next on-policy wave."""
    pass_rates: Mapping[str, float] = field(default_factory=dict)
    """Last pass rate of each task id seen, for budgets by difficulty (else left empty)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClimbState:
    """One climb between two optimizer steps."""

    clip: Clip
    """Bounds for the next step; `clip.widening` is the controller's k."""
    step: int = 0
    """Optimizer steps taken."""
    policy_version: int = 0
    """Weight updates made: the version the servers sample with."""
    stage: int = 0
    """Index into `length.stages`."""
    truncation: tuple[float, ...] = ()
    """Truncation rate of each of this stage's last steps, newest last."""
    cursor: Cursor = field(default_factory=Cursor)
    watch: Watch = field(default_factory=Watch)
    """What speaks for a collapse."""
    began_step: int = 0
    """Step at which the climb last began from fresh weights: 0, or its last distillation."""
    began_stage: int = 0
    """Stage at `began_step`."""
    turns: tuple[tuple[int, int], ...] = ()
    """Where versions do not follow one another: (version gone back to, number it has since)."""

    @classmethod
    def first(cls, config: ClipConfig) -> ClimbState:
        """Before the first step: k = 0, nothing handed out."""
        return cls(clip=Clip(eps=config.eps, outer=config.outer, eps_high=config.eps_high))

    def after(
        self,
        *,
        entropy: float,
        truncated: float,
        cursor: Cursor,
        clip: ClipConfig,
        length: LengthConfig,
        watch: Watch,
    ) -> ClimbState:
        """The state after one optimizer step.

        Args:
            entropy: the batch's estimate of the policy's entropy, in nats per token.
            truncated: share of the batch's responses that hit their cap, in [0, 1].
            cursor: where the problem set's stream is.
            clip: the controller's constants.
            length: the curriculum and its constants.
            watch: after the step.
        """
        history = (*self.truncation, truncated)[-length.patience :]
        stage = next_stage(self.stage, history, length)
        return replace(
            self,
            step=self.step + 1,
            clip=self.clip.adapted(
                entropy, clip.entropy_target, clip.entropy_step, clip.widening_max
            ),
            stage=stage,
            truncation=history if stage == self.stage else (),
            cursor=cursor,
            watch=watch,
        )

    def restarted(self) -> ClimbState:
        """The state from which the climb goes on with freshly distilled weights.

        k is 0 and nothing speaks for a collapse; steps, stage and tasks go on as they were. The
        policy gets a version of its own.
        """
        return replace(
            self,
            clip=replace(self.clip, widening=0.0),
            policy_version=self.policy_version + 1,
            truncation=(),
            watch=Watch(),
            began_step=self.step,
            began_stage=self.stage,
        )

    def with_new_policy(self) -> ClimbState:
        """The state once the servers are to have this step's weights."""
        return replace(self, policy_version=self.policy_version + 1)

    def gone_back(self, newest: int) -> ClimbState:
        """A checkpoint's state, where servers and rollouts of later weights are still there.

        Its policy gets a number of its own, for no number may ever mean two policies.

        Args:
            newest: the highest number that any server was ever told of.
        """
        if newest < self.policy_version:
            return self
        turn = (self.policy_version, newest + 1)
        return replace(self, policy_version=newest + 1, turns=(*self.turns, turn)[-TURNS:])

    def age(self, version: int) -> int:
        """Weight updates between that policy and the present one, the undone ones among them."""
        return _between(version, self.policy_version, self.turns)

    def to_json(self) -> str:
        """Text from which `from_json` makes an equal state; pending tasks as ranges."""
        told = asdict(self)
        told["cursor"]["pending"] = ranges(self.cursor.pending)
        return json.dumps(told)

    @classmethod
    def from_json(cls, text: str) -> ClimbState:
        """The state that was written."""
        raw: dict[str, Any] = json.loads(text)
        cursor = raw.pop("cursor")
        watch = raw.pop("watch", {})
        return cls(
            turns=tuple((old, new) for old, new in raw.pop("turns", ())),
            clip=Clip(**raw.pop("clip")),
            watch=Watch(rates=tuple(watch.pop("rates", ())), **watch),
            truncation=tuple(raw.pop("truncation")),
            cursor=Cursor(pending=tuple(_pending(cursor.pop("pending"))), **cursor),
            **raw,
        )


def _between(one: int, other: int, turns: tuple[tuple[int, int], ...]) -> int:
    """Updates on the way from one policy to the other, along what was undone where need be.

    Example:
        _between(7, 10, ((5, 10),))  # 2: versions 6 and 7 are undone, and 10 is 5 again
    """
    low, high = sorted((one, other))
    if not turns:
        return high - low
    *before, (back_to, number) = turns
    if low < number <= high:
        return high - number + _between(low, back_to, tuple(before))
    return _between(low, high, tuple(before))


def _pending(told: Sequence[int | Sequence[int]]) -> Iterator[int]:
    """Tasks from ranges, or one by one as they were written before."""
    for one in told:
        if isinstance(one, int):
            yield one
        else:
            yield from range(*one)
