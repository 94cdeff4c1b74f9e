"""Calls played on a world's rows, and the log of them that a grade is made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from munro.envs.worlds.compose import World
from munro.envs.worlds.run import Fact, Result, perform
from munro.envs.worlds.state import State
from munro.envs.worlds.task import Call


@dataclass(frozen=True, slots=True)
class Made:
    """One call that was made."""

    turn: int
    key: str
    """The same for the same call; empty where it could not be read."""
    ok: bool
    writes: bool = False


@dataclass(slots=True)
class Log:
    """All that an attempt did."""

    made: list[Made] = field(default_factory=list)
    told: set[Fact] = field(default_factory=set)
    broken: list[str] = field(default_factory=list)
    """Numbers of rules, once for each call that they forbade."""

    def heard(self, turn: int, key: str, result: Result) -> None:
        """Remember a call and what came of it."""
        self.made.append(Made(turn, key, not result.error, result.writes))
        self.told |= result.told
        self.broken += result.broken

    def as_data(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "made": [[one.turn, one.key, one.ok, one.writes] for one in self.made],
            "told": [[*fact] for fact in sorted(self.told)],
            "broken": self.broken,
        }

    @classmethod
    def of(cls, data: dict[str, Any]) -> Log:
        """Out of `as_data`."""
        told = {(table, key, name) for table, key, name in data["told"]}
        return cls([Made(*one) for one in data["made"]], told, data["broken"])


def play(
    world: World, base: State, tools: Iterable[str], turns: Sequence[Sequence[Call]]
) -> tuple[State, Log, list[str]]:
    """The calls of all turns, one after the other, on a copy of the rows.

    Returns:
        The rows afterwards, the log, and what each call was told.
    """
    state, log, texts = base.copy(), Log(), list[str]()
    known = set(tools)
    for turn, calls in enumerate(turns):
        for call in calls:
            name = call.tool if call.tool in known else ""
            result = perform(world, state, name, dict(call.arguments))
            log.heard(turn, call.key, result)
            texts.append(result.text)
    return state, log, texts
