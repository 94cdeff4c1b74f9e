"""How a person says what a reward is made of: sums, priorities, gates, severity; as TOML.

A tree says it, and a person writes the tree in TOML (`[env.reward]`). Its leaves are names of
parts: a grader's reward ("liked"), or one of the figures beside it ("safe/compliance"). Its nodes
are the four kinds below.

    reward = { kind = "gated", gate = "safe/compliance", then = { kind = "sum", parts = [...] } }

MAI-Thinking-1 report, sections 3.4.1 (lexicographic, gated) and 3.4.3 (safety). What a tree comes
to for a group of attempts is worked out in `munro.rewards.combine.combination`.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from munro.rewards.config import Config

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
    minimum: float | tuple[float, ...] | None = None
    """Reward of attempts that do not pass: the least that `then` can give, unless set lower. Four
    of them, for a task's levels of severity 0 to 3, never rise."""
    level: str = "severity"
    """Where that level stands: a field of the task, or a part such as "safe/severity"."""

    @field_validator("minimum", mode="before")
    @classmethod
    def _one_or_one_a_level(cls, value: Any) -> Any:
        several = value if isinstance(value, list | tuple) else [] if value is None else [value]
        numbers = [v for v in several if isinstance(v, int | float) and not isinstance(v, bool)]
        fits = len(several) == LEVELS or not isinstance(value, list | tuple)
        if not (fits and numbers == list(several) and all(map(math.isfinite, numbers))):
            raise ValueError(f"minimum = {value!r}: give a finite number, or {LEVELS} of them.")
        if numbers != sorted(numbers, reverse=True):
            raise ValueError(
                f"minimum = {value}: a graver case may not pay more; give {LEVELS} that do not "
                f"rise, for levels 0 to {LEVELS - 1}."
            )
        return value

    @property
    def is_by_level(self) -> bool:
        """Whether failing costs more where the task is graver."""
        return isinstance(self.minimum, tuple)


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
    """Parts that the tree names, in its order, each once. Levels of severity that a task brings are
    not among them; those that a grader tells are."""
    if isinstance(node, str):
        return [node]
    told = [name for name in _level_of(node) if "/" in name]
    below = [name for child in children(node) for name in names(child)]
    return list(dict.fromkeys([*below, *told]))


def behind_gates(node: Any) -> set[str]:
    """Graders that are asked only where a gate is open, so that some attempts have none of it."""
    found: set[str] = set()
    if isinstance(node, Gated):
        found = {owner(name) for name in names(node.then)}
    found |= {name for child in children(node) for name in behind_gates(child)}
    return found - asked_first(node)


def asked_first(node: Any) -> set[str]:
    """Graders that are asked of every attempt, whatever the gates say."""
    if isinstance(node, str):
        return {owner(node)}
    below = (node.gate,) if isinstance(node, Gated) else children(node)
    return {name for child in below for name in asked_first(child)}


def owner(name: str) -> str:
    """Whose part it is: "safe" for "safe/compliance"."""
    return name.partition("/")[0]


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
    below = [name for child in children(node) for name in levels(child)]
    return list(dict.fromkeys([*_level_of(node), *below]))


def _level_of(node: Any) -> list[str]:
    by_level = isinstance(node, Severity) or (isinstance(node, Gated) and node.is_by_level)
    return [node.level] if by_level else []
