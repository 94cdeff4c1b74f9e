"""Graders under names, and whether a reward's tree names parts that they score.

What runs nobody else's code is checked when a config is read: names, and the parts of graders that
are Munro's own. The rest is checked when graders are loaded.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import Field, field_validator, model_validator

from munro.rewards.combine.tree import Gated, children, names, owner
from munro.rewards.config import Config
from munro.rewards.kinds import Scale, check_name, find, ships
from munro.rewards.plugins import nearest

log = logging.getLogger(__name__)

OWN = "task"
"""The part that an environment's own grade is, where graders are added to it."""
RESERVED = ("total", "std", "language", "length", "repetition", "truncation", OWN)
"""Names of parts that no grader may take."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


class WatchConfig(Config):
    """A second judge, who is not paid: over a sample of the attempts that a grader pays."""

    kind: str
    """What grades, as of a grader. Best another model than the one that pays."""
    args: dict[str, Any] = Field(default_factory=dict)
    """Options of the grader."""
    fields: dict[str, str] = Field(default_factory=dict)
    """What it reads, and how the task calls it: { answer = "solution" }."""
    thoughts: bool = False
    """Show it the chain of thought too."""
    part: str = ""
    """Which figure of its grade counts; the reward unless given."""
    share: float = Field(0.02, gt=0, le=1)
    """Of the attempts that it looks at."""
    window: int = Field(20, ge=4)
    """Optimizer steps over which trends are told."""
    confidence: float = Field(0.95, gt=0, lt=1)
    """How sure each trend must be for an alarm."""

    @field_validator("kind")
    @classmethod
    def _kind_exists(cls, kind: str) -> str:
        check_name(kind)
        return kind


class GraderConfig(Config):
    """A grader under a name: the part that it scores."""

    kind: str
    """What grades: a name (`munro grade --help` lists them), `module:Class`, or `file.py:Class`."""
    args: dict[str, Any] = Field(default_factory=dict)
    """Options of the grader."""
    fields: dict[str, str] = Field(default_factory=dict)
    """What the grader reads, and how the task calls it: { answer = "solution" }."""
    pass_at: float | None = Field(None, allow_inf_nan=False)
    """Value from which an attempt passes; unset, the grader's own verdict if it has one."""
    range: tuple[float, float] | None = None
    """Least and largest value; unset, what the kind says (mostly 0 to 1)."""
    late: bool = False
    """Score it only for groups that came past the early gate; it then has no verdict."""
    thoughts: bool = False
    """Show the grader the chain of thought too."""
    watch: WatchConfig | None = None
    """A second judge, who is not paid, on a sample of attempts: an alarm where this grader is more
    and more content, and that one less and less."""

    @field_validator("kind")
    @classmethod
    def _kind_exists(cls, kind: str) -> str:
        check_name(kind)
        return kind

    @model_validator(mode="after")
    def _range_is_one(self) -> GraderConfig:
        if self.range and not -math.inf < self.range[0] < self.range[1] < math.inf:
            raise ValueError(f"range = {list(self.range)}: give two finite numbers, least first.")
        return self

    def scale(self) -> Scale:
        """What its figures may be; loads its kind."""
        return find(self.kind).scale(self.args)


def check_names(graders: Mapping[str, GraderConfig], reward: Any) -> None:
    """Refuse a reward over parts that nothing scores; warn of a gate that can be bought.

    Raises:
        ValueError: one sentence that names the part.
    """
    for name in graders:
        if name in RESERVED:
            raise ValueError(f"env.graders.{name}: the name is taken by a part of the total.")
        if not NAME.fullmatch(name):
            raise ValueError(f"env.graders.{name}: use letters, digits, '-' and '_'.")
    if reward is None and graders:
        first = next(iter(graders))
        raise ValueError(f'env.graders without env.reward: say what is paid (reward = "{first}").')
    if reward is None:
        return
    for name in names(reward):
        if owner(name) not in graders and owner(name) != OWN:
            hint = nearest(owner(name), [*graders, OWN])
            raise ValueError(f"env.reward: there is no grader {owner(name)!r}. {hint}")
    check_parts({name: one for name, one in graders.items() if ships(one.kind)}, reward)


def check_parts(graders: Mapping[str, GraderConfig], reward: Any) -> None:
    """The same for figures of these graders, whose kinds are loaded.

    Raises:
        ValueError: a kind cannot be loaded, or has no such part.
    """
    scales = {name: one.scale() for name, one in graders.items()}
    for name in names(reward):
        grader, _, part = name.partition("/")
        if part and grader in scales and scales[grader].part(part) is None:
            hint = nearest(part, scales[grader].parts)
            raise ValueError(f"env.reward: the grader {grader!r} has no part {part!r}. {hint}")
    _refuse_flags(reward, scales)
    for gate in _gates(reward):
        _warn_if_mixed(gate, scales)


def _paid(node: Any) -> Iterator[str]:
    """Parts that are worth something, rather than only open a gate."""
    if isinstance(node, str):
        yield node
    elif isinstance(node, Gated):
        yield from _paid(node.then)
    else:
        for child in children(node):
            yield from _paid(child)


def _refuse_flags(reward: Any, scales: Mapping[str, Scale]) -> None:
    """Flags gate, they do not score: who is paid for them is paid for looking clean."""
    for name in names(reward):
        grader, _, part = name.partition("/")
        one = scales.get(grader, Scale()).part(part) if part else None
        if one is not None and one.role == "flag":
            raise ValueError(
                f"env.reward: {name!r} is 1 where something is wrong, which is told and never "
                f'paid. For a gate write "{grader}" (1 where nothing is wrong), with the classes '
                "that count in its args."
            )
    for name in _paid(reward):
        if scales.get(name, Scale()).only_gates:
            raise ValueError(
                f"env.reward: {name!r} only says whether something is wrong: flags gate, they do "
                f'not score. Write {{ kind = "gated", gate = "{name}", then = ... }}, or leave it '
                "out: what env.reward does not name is still graded and shown."
            )


def _gates(node: Any) -> Iterator[Any]:
    if isinstance(node, Gated):
        yield node.gate
    for child in children(node):
        yield from _gates(child)


_told: set[str] = set()


def _warn_if_mixed(gate: Any, scales: Mapping[str, Scale]) -> None:
    """Say once that a price in a gate weighs nothing, or opens it to what should stay out."""
    roles: dict[str, list[str]] = {"condition": [], "price": []}
    for name in names(gate):
        grader, _, part = name.partition("/")
        scale = scales.get(grader, Scale())
        if not part and scale.mixes:
            for key, each in scale.parts.items():
                roles.setdefault(each.role, []).append(f"{grader}/{key}")
        elif part and (one := scale.part(part)) is not None:
            roles.setdefault(one.role, []).append(name)
    if not (roles["condition"] and roles["price"]):
        return
    condition, price = roles["condition"][0], roles["price"][0]
    text = (
        f"env.reward: the gate {' + '.join(names(gate))} mixes a condition ({condition}) with a "
        f"price ({price}): what is merely dear is shut out, or what is unsafe let in. Write gate = "
        f'"{condition}", and pay "{price}" behind it.'
    )
    if text not in _told:
        _told.add(text)
        log.warning(text)
