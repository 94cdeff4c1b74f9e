"""What of learning can be plugged in: a loss, an advantage, a curriculum, each a plain function.

    learner.loss        policy, cispo, gspo, ...             entry points of munro.losses
    learner.advantage   group_relative, dr_grpo, rloo, ...   entry points of munro.advantages
    length.curriculum   stages, schedule, ...                entry points of munro.curricula

By one of these names (a file in `rl/losses` and beside it, whose function has its name), by the
name of an entry point, or by path, "./mine.py:my_loss". A function may have further keyword
parameters that are offered: it gets those it names.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Protocol

from munro.rewards.plugins import BadPlugin, Registry, resolve
from munro.rl.config import ClimbConfig, LearnerConfig, LengthConfig
from munro.rollout.types import Group


class _Ours(Registry):
    """Our modules name their function as their file is named; it may come from elsewhere."""

    def _in(self, name: str) -> str:
        return name


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """A place in the config for a function, and how it is called there."""

    key: str
    """In the config."""
    registry: Registry
    given: tuple[str, ...]
    """Positional arguments, by the names that ours have."""
    named: tuple[str, ...] = ()
    """Keyword arguments that it always gets."""
    offered: tuple[str, ...] = ()
    """Keyword arguments that it gets if it names them."""

    def find(self, path: str) -> Callable[..., Any]:
        """The function that `path` names, known to take what it will be given.

        Raises:
            BadPlugin: there is none, it cannot be imported, or takes other arguments.
        """
        function: Callable[..., Any] = self.registry.find(path)
        signature = inspect.signature(function)
        named = [name for name in self.offered if name in signature.parameters]
        try:
            signature.bind(*self.given, **dict.fromkeys((*self.named, *named)))
        except TypeError as error:
            called = ", ".join((*self.given, *(["*"] if self.named else []), *self.named))
            more = f", with {' and '.join(self.offered)} where it names them" * bool(self.offered)
            raise BadPlugin(
                f"{self.key} = {path!r}: {function.__name__}{signature} does not take what a "
                f"{self.registry.what} is given ({error}). It is called with ({called}){more}."
            ) from error
        return function


def _slot(what: str, key: str, kinds: str, *given: str, **more: tuple[str, ...]) -> Slot:
    registry = _Ours(
        what=what, group=f"munro.{kinds}", home=f"munro.rl.{kinds}", fits=inspect.isfunction
    )
    return Slot(key=key, registry=registry, given=given, **more)


LOSS = _slot(
    "loss",
    "learner.loss",
    "losses",
    *("logp_T", "behaviour_logp_T", "advantage_T", "sampled_T"),
    named=("clip", "num_global_tokens"),
    offered=("sequence_T", "num_global_sequences"),
)
ADVANTAGE = _slot("advantage", "learner.advantage", "advantages", "group", offered=("eps",))
CURRICULUM = _slot("curriculum", "length.curriculum", "curricula", "stage", "history", "config")


class Advantage(Protocol):
    """From a group to one number an attempt."""

    def __call__(self, group: Group, /) -> Sequence[float]:
        """In the order of `group.attempts`; all 0 where there is nothing to learn."""
        ...


def check_plugs(config: ClimbConfig) -> None:
    """Find everything that the config plugs in, before anything is started.

    Raises:
        BadPlugin: one of them is not there, or not what it must be; says which and why.
    """
    LOSS.find(config.learner.loss)
    ADVANTAGE.find(config.learner.advantage)
    CURRICULUM.find(config.length.curriculum)


def resolved(config: LearnerConfig) -> LearnerConfig:
    """The same config, its paths such that they hold in any process's working directory."""
    made = {"loss": resolve(config.loss), "advantage": resolve(config.advantage)}
    return config.model_copy(update=made)


@dataclass(frozen=True, slots=True)
class Loss:
    """A loss as the learner calls it, with those of the offered arguments that it names."""

    function: Callable[..., Any]
    named: frozenset[str]

    @classmethod
    def of(cls, path: str) -> Loss:
        """The loss that `path` names. Raises as `check_plugs` does."""
        function = LOSS.find(path)
        named = inspect.signature(function).parameters.keys() & {*LOSS.offered}
        return cls(function, frozenset(named))

    def __call__(self, *given: Any, offered: Mapping[str, Any], **named: Any) -> Any:
        """See `munro.rl.loss.policy_loss` for what is given, and for what is returned."""
        more = {name: offered[name] for name in self.named}
        return self.function(*given, **named, **more)


def advantage_of(config: LearnerConfig) -> Advantage:
    """The advantage that the config names. Raises as `check_plugs` does.

    What it returns has been checked: one finite number an attempt, else a `BadPlugin`.
    """
    function = ADVANTAGE.find(config.advantage)
    if "eps" in inspect.signature(function).parameters:
        function = partial(function, eps=config.advantage_eps)

    def advantage(group: Group) -> list[float]:
        found = [float(value) for value in function(group)]
        if len(found) != len(group.attempts) or not all(map(math.isfinite, found)):
            raise BadPlugin(
                f"learner.advantage = {config.advantage!r} returned {found[:8]} for the "
                f"{len(group.attempts)} attempts at task {group.task.id!r}: it must return one "
                "finite number for each."
            )
        return found

    return advantage


def next_stage(stage: int, history: Sequence[float], config: LengthConfig) -> int:
    """The stage after a step, by the curriculum that the config names.

    Raises:
        BadPlugin: as `check_plugs`; or it returned what is no index of `length.stages`.
    """
    found = _curriculum(config.curriculum)(stage, history, config)
    if not isinstance(found, int) or not 0 <= found < len(config.stages):
        raise BadPlugin(
            f"length.curriculum = {config.curriculum!r} returned {found!r}: it must return an "
            f"index into the {len(config.stages)} of length.stages."
        )
    return found


_curriculum = cache(CURRICULUM.find)
