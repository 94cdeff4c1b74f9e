"""How a person says what a reward is made of: sums, priorities, gates, severity; as TOML.

A tree says it, and a person writes the tree in TOML (`[env.reward]`). Its leaves are names of
parts, each scored by a grader; its nodes are the four kinds below.

    reward = { kind = "gated", gate = "safe", then = { kind = "lexicographic", parts = [...] } }

MAI-Thinking-1 report, sections 3.4.1 (lexicographic, gated) and 3.4.3 (safety). What a tree comes
to for a group of attempts is worked out in `munro.rewards.combine.combination`.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from munro.rewards.config import Config
from munro.rewards.kinds import check_name

LEVELS = 4
"""Of severity: 0 (none) to 3 (severe)."""


def node_of(value: Any, where: str = "reward") -> Any:
    """The tree that plain data mean; a name stays a name.

    Args:
        value: a name, a node, or a table with its `kind`.
        where: how messages call it.

    Raises:
        ValueError: one sentence that names the key, and what it may be.
    """
    if isinstance(value, str | Sum | Lexicographic | Gated | Severity):
        return value
    if not isinstance(value, Mapping):
        raise ValueError(f"{where} = {value!r}: give the name of a part, or a table with a kind.")
    kind = value.get("kind")
    if kind not in KINDS:
        raise ValueError(f"{where}.kind = {kind!r}. {_nearest(str(kind), KINDS)}")
    node = KINDS[kind]
    for key in value:
        if key not in node.model_fields:
            raise ValueError(f"unknown key {where}.{key}. {_nearest(str(key), node.model_fields)}")
    filled = {key: _children(key, child, where) for key, child in value.items()}
    try:
        return node.model_validate(filled)
    except ValidationError as error:
        raise ValueError(_sentence(error, where)) from None


def _children(key: str, value: Any, where: str) -> Any:
    if key in ("gate", "then", "part"):
        return node_of(value, f"{where}.{key}")
    if key == "parts" and isinstance(value, list | tuple):
        return tuple(node_of(each, f"{where}.parts[{at}]") for at, each in enumerate(value))
    return value


def _sentence(error: ValidationError, where: str) -> str:
    first = error.errors()[0]
    message = str(first["msg"]).removeprefix("Value error, ")
    key = ".".join(str(part) for part in (where, *first["loc"]))
    if first["type"] == "missing":
        return f"{key} is not set, and has no default"
    return f"{key}: {message[0].lower()}{message[1:]}"


def _nearest(name: str, names: Iterable[str]) -> str:
    names = sorted(names)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    return f"Did you mean {close[0]!r}?" if close else f"Valid here: {', '.join(names)}."


Node = Annotated["str | Sum | Lexicographic | Gated | Severity", BeforeValidator(node_of)]
"""A part's name, or a way to combine some."""


class Sum(Config):
    """A weighted sum: what is lost in one part can be bought back with another."""

    kind: Literal["sum"] = "sum"
    """Parts added up."""
    parts: tuple[Node, ...] = Field(min_length=1)
    """Parts to add up."""
    weights: tuple[float, ...] = ()
    """One for each part, negative ones too; 1 each where left out."""

    @model_validator(mode="after")
    def _weights_fit(self) -> Self:
        if self.weights and len(self.weights) != len(self.parts):
            raise ValueError(
                f"{len(self.weights)} weights for {len(self.parts)} parts: give one for each."
            )
        if not all(map(math.isfinite, self.weights)):
            raise ValueError(f"weights = {list(self.weights)}: every weight must be finite.")
        return self

    @property
    def terms(self) -> list[tuple[Any, float]]:
        """(part, weight) pairs."""
        return list(zip(self.parts, self.weights or (1.0,) * len(self.parts), strict=True))


class Lexicographic(Config):
    """Priorities within a group: a part counts only where all the ones before it tie.

    R = R_1 if its deviation over the group is above `tolerance`, else R_2, and so on. Where all
    tie, the group of one included, it is R_1: no attempt is preferred either way. The group is
    what reaches this node: under a gate, the attempts that pass it.
    """

    kind: Literal["lexicographic"] = "lexicographic"
    """Priorities."""
    parts: tuple[Node, ...] = Field(min_length=2)
    """Most important first."""
    tolerance: float = Field(1e-9, ge=0, allow_inf_nan=False)
    """Population standard deviation up to which a part ties."""
    every_part: bool = True
    """Score lower parts also where they do not count, for the report; false spares the graders."""


class Gated(Config):
    """A condition that nothing below it can buy back."""

    kind: Literal["gated"] = "gated"
    """A gate."""
    gate: Node
    """The part that must reach `at_least`."""
    at_least: float = Field(1.0, allow_inf_nan=False)
    """Least value of the gate that opens it."""
    then: Node
    """What is paid behind the gate; not even scored for attempts that do not pass."""
    minimum: float | None = Field(None, allow_inf_nan=False)
    """Reward of attempts that do not pass: the least that `then` can give, unless set lower."""


class Severity(Config):
    """A part scaled by how severe the task is: an ordinal level, 0 to 3, that the task brings."""

    kind: Literal["severity"] = "severity"
    """A scale."""
    part: Node
    """What is scaled."""
    level: str = "severity"
    """Where the level stands: a field of the task, or a part."""
    multipliers: tuple[float, ...] = Field((0.25, 0.5, 0.75, 1.0))
    """One for each level."""

    @model_validator(mode="after")
    def _multipliers_grow(self) -> Self:
        grow = sorted(self.multipliers) == list(self.multipliers)
        if len(self.multipliers) != LEVELS or not grow or self.multipliers[0] < 0:
            raise ValueError(
                f"multipliers = {list(self.multipliers)}: give {LEVELS} that do not fall, for "
                f"levels 0 to {LEVELS - 1}, none of them negative."
            )
        if not math.isfinite(self.multipliers[-1]):
            raise ValueError(f"multipliers = {list(self.multipliers)}: they must be finite.")
        return self


KINDS: dict[str, type[Sum | Lexicographic | Gated | Severity]] = {
    "sum": Sum,
    "lexicographic": Lexicographic,
    "gated": Gated,
    "severity": Severity,
}
for _node in KINDS.values():
    _node.model_rebuild()


def names(node: Any) -> list[str]:
    """Parts that the tree names, in its order, each once. Levels of severity are not among them."""
    if isinstance(node, str):
        return [node]
    return list(dict.fromkeys(name for child in children(node) for name in names(child)))


def children(node: Any) -> tuple[Any, ...]:
    """The nodes right below."""
    match node:
        case Sum(parts=parts) | Lexicographic(parts=parts):
            return parts
        case Gated(gate=gate, then=then):
            return (gate, then)
        case Severity(part=part):
            return (part,)
    return ()


def levels(node: Any) -> list[str]:
    """Names under which the tree looks for levels of severity."""
    found = [node.level] if isinstance(node, Severity) else []
    return list(dict.fromkeys([*found, *(name for c in children(node) for name in levels(c))]))


OWN = "task"
"""The part that an environment's own grade is, where graders are added to it."""
RESERVED = ("total", "std", "language", "length", "repetition", "truncation", OWN)
"""Names of parts that no grader may take."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


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

    @field_validator("kind")
    @classmethod
    def _kind_exists(cls, kind: str) -> str:
        check_name(kind)
        return kind

    @model_validator(mode="after")
    def _range_is_one(self) -> Self:
        if self.range and not -math.inf < self.range[0] < self.range[1] < math.inf:
            raise ValueError(f"range = {list(self.range)}: give two finite numbers, least first.")
        return self


def check_names(graders: Mapping[str, GraderConfig], reward: Any) -> None:
    """Refuse a reward over parts that nothing scores.

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
    for name in names(reward) if reward is not None else ():
        if name not in graders and name != OWN:
            hint = _nearest(name, [*graders, OWN])
            raise ValueError(f"env.reward: there is no grader {name!r}. {hint}")
