"""A task of a world as data: what is asked, who solves it how, and what must be true then."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from munro.envs.worlds.errors import BadWorld
from munro.envs.worlds.expression import Value
from munro.envs.worlds.run import Fact


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a tool.

    Example:
        Call("price", {"name": "rumo"})
    """

    tool: str
    arguments: Mapping[str, Value]

    @property
    def key(self) -> str:
        """The same for the same call."""
        return f"{self.tool}{json.dumps(dict(self.arguments), sort_keys=True)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldTask:
    """One task; everything but the world it is played in."""

    kind: str
    """A file of `munro.envs.worlds.making.kinds`."""
    ask: str
    """What the user says."""
    tools: tuple[str, ...]
    """Those the policy has."""
    gold: tuple[tuple[Call, ...], ...]
    """Turns of calls that reach the goal, those of one turn independent of each other."""
    answer: str
    """What the last line must answer."""
    evidence: tuple[Fact, ...] = ()
    """What the policy must have been told before it may know the answer or the calls."""

    def as_data(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "kind": self.kind,
            "ask": self.ask,
            "tools": [*self.tools],
            "gold": [[[call.tool, dict(call.arguments)] for call in turn] for turn in self.gold],
            "answer": self.answer,
            "evidence": [[*fact] for fact in self.evidence],
        }

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> WorldTask:
        """Out of `as_data`.

        Raises:
            BadWorld: it is no such thing.
        """
        try:
            return cls(
                kind=data["kind"],
                ask=data["ask"],
                tools=tuple(data["tools"]),
                gold=tuple(
                    tuple(Call(name, given) for name, given in turn) for turn in data["gold"]
                ),
                answer=data["answer"],
                evidence=tuple((table, key, field) for table, key, field in data["evidence"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise BadWorld(f"this is no task of a world: {error!r:.100}") from error


def flat(turns: Sequence[Sequence[Call]]) -> list[Call]:
    """All calls in order."""
    return [call for turn in turns for call in turn]
