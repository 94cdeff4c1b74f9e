"""What the loop asks of the cluster. Ray handles implement these; tests pass plain objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from munro.rl.batch import StepReport
from munro.rl.clip import Clip
from munro.rl.state import ClimbState, Cursor
from munro.rollout.engine import WeightSource
from munro.rollout.types import Outcome


class LearnerDiverged(Exception):
    """A loss or gradient norm is not finite; no step was taken."""

    is_sentence = True


class WeightTransfer(Protocol):
    """How weights reach the inference servers; `munro.rollout.weights` has them."""

    @property
    def through_host(self) -> bool:
        """It wants tensors in the host's memory."""
        ...

    def at(self, host: str) -> WeightTransfer:
        """The same, for a learner whose first process others reach by that address."""
        ...

    def publish(self, named_tensors: Any, version: int) -> WeightSource:
        """Put (name, tensor) pairs where servers can read them."""
        ...

    def settle(self) -> None:
        """All servers have read them."""
        ...


class Solvers(Protocol):
    """The problem workers, called as one."""

    def assign(self, tasks: Sequence[tuple[int, int]]) -> None:
        """Hand out (index, max_response_tokens) pairs; outcomes come from `next_outcomes`."""
        ...

    def next_outcomes(self, timeout_s: float) -> Sequence[Outcome]:
        """What has come back, waiting at most `timeout_s` for the first of it."""
        ...

    def solve_all(self, tasks: Sequence[tuple[int, int]], deadline_s: float) -> Sequence[Outcome]:
        """Solve (index, max_response_tokens) pairs in lockstep: repeatable bit by bit."""
        ...

    def lost(self, groups: Sequence[Outcome]) -> Sequence[Outcome]:
        """Those of them whose tokens are there no more: their node has died."""
        ...

    def forget(self, groups: Sequence[Outcome]) -> None:
        """Nobody will ask for their tokens any more."""
        ...


class GroupSource(Protocol):
    """Where the loop gets its groups."""

    def take(self, num_groups: int, state: ClimbState) -> Sequence[Outcome]:
        """Block until enough groups, none too old for `state`, are there.

        Returns fewer, even none, when the run is asked to stop or the task limit is reached.
        """
        ...

    def settle(self, groups: Sequence[Outcome], step: int) -> Cursor:
        """Note that optimizer step `step` trained on these; return where the stream is now."""
        ...

    def metrics(self) -> Mapping[str, float]:
        """Figures since the last call."""
        ...

    def close(self) -> None:
        """Hand out nothing more."""
        ...


class Learner(Protocol):
    """The model being trained, all ranks as one."""

    def step(self, groups: Sequence[Outcome], *, clip: Clip) -> StepReport:
        """One optimizer step; its ranks fetch the groups' tokens themselves."""
        ...


class Publisher(Protocol):
    """Brings the learner's weights to every inference server."""

    def publish(self, version: int) -> Mapping[str, float]:
        """Update all servers, prove that the weights arrived, return the proof's figures."""
        ...


class Run(Protocol):
    """The run's folder, console and evaluation."""

    def should_stop(self) -> bool:
        """Whether to end here: a person asked for it (Ctrl-C), or the climb is to restart."""
        ...

    def draft(self, state: ClimbState, groups: Sequence[Outcome]) -> None:
        """Begin to write a step's rollouts, while it is trained; nobody sees them yet."""
        ...

    def record(self, state: ClimbState, groups: Sequence[Outcome]) -> None:
        """Keep a trained step's rollouts: what `draft` wrote is there from now on."""
        ...

    def evaluate(self, state: ClimbState) -> Mapping[str, float]:
        """Held-out figures, or nothing when none are due after this step."""
        ...

    def log(self, state: ClimbState, metrics: Mapping[str, float]) -> None:
        """Write one line of metrics."""
        ...

    def save_if_due(self, state: ClimbState) -> None:
        """Write a checkpoint of state and learner where one is due, or begin to."""
        ...

    def save(self, state: ClimbState) -> None:
        """Write a checkpoint of state and learner; it stands when this returns."""
        ...
