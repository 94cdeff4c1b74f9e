"""What of learning can be plugged in: a loss, an advantage, a curriculum, each a plain function.

    learner.loss        policy, cispo, dapo, gspo, ...       entry points of munro.losses
    learner.advantage   group_relative, dr_grpo, rloo, gdpo, ...   entry points of munro.advantages
    length.curriculum   stages, schedule, ...                entry points of munro.curricula

By one of these names (a file in `rl/losses` and beside it, whose function has its name), by the
name of an entry point, or by path, "./mine.py:my_loss". A function may have further keyword
parameters that are offered: it gets those it names.
"""

from __future__ import annotations

import inspect
import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any, Protocol

from munro.rewards.plugins import BadPlugin, PluginNotFound, Registry, resolve
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
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    """What others call it, to what to do here, as the end of a sentence."""

    def find(self, path: str) -> Callable[..., Any]:
        """The function that `path` names, known to take what it will be given.

        Raises:
            BadPlugin: there is none, it cannot be imported, or takes other arguments.
        """
        try:
            function: Callable[..., Any] = self.registry.find(path)
        except PluginNotFound as error:
            if (answer := self.elsewhere.get(path.lower().replace("-", "_"))) is None:
                raise
            message = f"There is no {self.registry.what} {path!r} here: {answer}."
            raise PluginNotFound(message) from error
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


def _slot(what: str, key: str, kinds: str, *given: str, **more: Any) -> Slot:
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
    offered=("sequence_T", "num_global_sequences", "tokens_per_sequence"),
    elsewhere={
        **dict.fromkeys(("report", "default", "ppo", "vanilla"), "the report's is policy"),
        "grpo": "policy is GRPO's with a bound in every branch, dapo is without it",
        "bnpo": "dapo is the same, all tokens of the batch alike",
    },
)
ADVANTAGE = _slot(
    "advantage",
    "learner.advantage",
    "advantages",
    "group",
    offered=("eps", "parts"),
    elsewhere={
        **dict.fromkeys(("grpo", "group", "report"), "group_relative divides by the deviation"),
        "none": "dr_grpo divides by nothing",
        **dict.fromkeys(("normalize_then_sum", "multi_reward"), "gdpo normalises part by part"),
    },
)
CURRICULUM = _slot("curriculum", "length.curriculum", "curricula", "stage", "history", "config")


class Advantage(Protocol):
    """From a group to one number an attempt."""

    def __call__(self, group: Group, /) -> Sequence[float]:
        """In the order of `group.attempts`; all 0 where there is nothing to learn."""
        ...


def check_plugs(config: ClimbConfig) -> None:
    """Find everything that the config plugs in, before anything is started, and try the loss.

    Raises:
        BadPlugin: one of them is not there, or not what it must be; says which and why.
    """
    # torch takes a second, and whoever only asks for a stage needs none of it
    from munro.rl.trial import try_out

    try_out(Loss.of(config.learner.loss), config.learner)
    advantage_of(config.learner)
    CURRICULUM.find(config.length.curriculum)


def resolved(config: LearnerConfig, *, num_steps: int = 0) -> LearnerConfig:
    """The same config for another process: paths that hold in any working directory.

    Args:
        config: the learner's.
        num_steps: of the climb, where the schedule of the learning rate names none of its own.
    """
    schedule = config.schedule.model_copy(
        update={"num_steps": config.schedule.num_steps or num_steps}
    )
    made = {"loss": resolve(config.loss), "advantage": resolve(config.advantage)}
    return config.model_copy(update={**made, "schedule": schedule})


@dataclass(frozen=True, slots=True)
class Loss:
    """A loss as the learner calls it, with those of the offered arguments that it names."""

    path: str
    function: Callable[..., Any]
    named: frozenset[str]

    @classmethod
    def of(cls, path: str) -> Loss:
        """The loss that `path` names. Raises as `check_plugs` does."""
        function = LOSS.find(path)
        named = inspect.signature(function).parameters.keys() & {*LOSS.offered}
        return cls(path, function, frozenset(named))

    @property
    def is_ours(self) -> bool:
        """It comes with Munro."""
        return self.function.__module__.startswith("munro.")

    def __call__(self, *given: Any, offered: Mapping[str, Any], **named: Any) -> Any:
        """See `munro.rl.loss.policy_loss` for what is given, and for what is returned.

        Raises:
            BadPlugin: something else was returned.
        """
        more = {name: offered[name] for name in self.named}
        returned = self.function(*given, **named, **more)
        if (wrong := _wrong(returned)) is not None:
            raise BadPlugin(
                f"{LOSS.key} = {self.path!r} returned {wrong}: it must return one number, a tensor "
                "that carries the gradient, and a dict of figures, each one number too."
            )
        return returned


def _wrong(returned: Any) -> str | None:
    """What was returned in place of a loss and its figures; None where it was these."""
    if not isinstance(returned, tuple | list):
        return f"{_told(returned)} alone"
    if len(returned) != 2:
        return f"{len(returned)} values"
    loss, figures = returned
    if _size(loss) != 1 or not hasattr(loss, "requires_grad"):
        return f"{_told(loss)} as the loss"
    if not loss.requires_grad:
        return "a loss without gradient"
    if not isinstance(figures, Mapping):
        return f"{_told(figures)} as the figures"
    for name, figure in figures.items():
        if _size(figure) != 1:
            return f"{_told(figure)} as the figure {name!r}"
    return None


def _size(value: Any) -> int:
    """How many numbers it is; 0 for what is none."""
    if hasattr(value, "numel"):
        return int(value.numel())
    return int(isinstance(value, numbers.Real))


def _told(value: Any) -> str:
    shape = getattr(value, "shape", None)
    kind = type(value).__name__
    return f"a {kind}" if shape is None else f"a {kind} of shape {[*shape]}"


def advantage_of(config: LearnerConfig) -> Advantage:
    """The advantage that the config names. Raises as `check_plugs` does.

    What it returns has been checked: one finite number an attempt, else a `BadPlugin`.
    """
    function = ADVANTAGE.find(config.advantage)
    takes = inspect.signature(function).parameters
    if config.advantage_parts and "parts" not in takes:
        raise BadPlugin(
            f"learner.advantage_parts is for an advantage that takes `parts`, as gdpo does, and "
            f'{config.advantage!r} does not: set learner.advantage = "gdpo", or leave it out.'
        )
    if "eps" in takes:
        function = partial(function, eps=config.advantage_eps)
    if "parts" in takes:
        function = partial(function, parts=config.advantage_parts)

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
