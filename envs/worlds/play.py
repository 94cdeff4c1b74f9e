"""Calls played on a world's rows, and the log of them that a grade is made of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from munro.envs.worlds.compose import World
from munro.envs.worlds.run import Fact, Result, ids, perform
from munro.envs.worlds.state import State
from munro.envs.worlds.task import Call

WORD = re.compile(r"\w+")


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
    """By calls all of whose ids had been read before."""
    broken: list[str] = field(default_factory=list)
    """Numbers of rules, once for each call that they forbade."""
    guessed: int = 0
    """Changes to rows whose ids nobody had told."""
    words: set[str] = field(default_factory=set)
    """All that has been read, in the request and in the answers of earlier turns."""
    answers: list[str] = field(default_factory=list)
    """Of this turn."""

    @classmethod
    def after(cls, ask: str) -> Log:
        """An empty one, of who has read a request."""
        return cls(words=set(WORD.findall(ask)))

    def heard(self, turn: int, key: str, result: Result, ids: set[str]) -> None:
        """Remember a call and what came of it.

        Args:
            turn: of the call.
            key: of the call.
            result: of it.
            ids: that it gave.
        """
        self.made.append(Made(turn, key, not result.error, result.writes))
        self.broken += result.broken
        if ids <= self.words:
            self.told |= result.told
            self.answers.append(result.text)
        elif result.writes:
            self.guessed += 1

    def turn_over(self) -> None:
        """What the calls of this turn were answered has been read."""
        for text in self.answers:
            self.words |= set(WORD.findall(text))
        self.answers.clear()

    def as_data(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "made": [[one.turn, one.key, one.ok, one.writes] for one in self.made],
            "told": [[*fact] for fact in sorted(self.told)],
            "broken": self.broken,
            "guessed": self.guessed,
            "words": sorted(self.words),
        }

    @classmethod
    def of(cls, data: dict[str, Any]) -> Log:
        """Out of `as_data`."""
        told = {(table, key, name) for table, key, name in data["told"]}
        made = [Made(*one) for one in data["made"]]
        return cls(made, told, data["broken"], data["guessed"], set(data["words"]))


def play(
    world: World,
    base: State,
    ask: str,
    tools: Iterable[str],
    turns: Sequence[Sequence[Call]],
) -> tuple[State, Log, list[str]]:
    """The calls of all turns, one after the other, on a copy of the rows.

    Returns:
        The rows afterwards, the log, and what each call was told.
    """
    state, log, texts = base.copy(), Log.after(ask), list[str]()
    known = set(tools)
    for turn, calls in enumerate(turns):
        for call in calls:
            name = call.tool if call.tool in known else ""
            given = dict(call.arguments)
            result = perform(world, state, name, given)
            log.heard(turn, call.key, result, ids(world, name, given))
            texts.append(result.text)
        log.turn_over()
    return state, log, texts
