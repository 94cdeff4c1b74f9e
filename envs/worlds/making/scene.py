"""Where tasks are drawn: a world with its rows, chance, a way of asking. What all kinds share."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import NoReturn

from munro.envs.worlds.compose import World
from munro.envs.worlds.errors import NoWay, Refused
from munro.envs.worlds.expression import Value
from munro.envs.worlds.making.phrases import Style, optional, spoken
from munro.envs.worlds.making.plan import Plan
from munro.envs.worlds.rows import value
from munro.envs.worlds.run import planned
from munro.envs.worlds.spec import Field, Tool
from munro.envs.worlds.state import State

TRIES = 24
"""Draws of arguments that a tool would take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A task before it is proven."""

    ask: str
    plan: Plan
    answer: str
    without: frozenset[str] = frozenset()
    """Tools that the policy must not have."""
    likely: frozenset[str] = frozenset()
    """Tools that it should have though no call needs them."""


@dataclass
class Scene:
    """One draw of a task."""

    world: World
    state: State
    rng: random.Random
    style: Style
    own_questions: tuple[str, ...] = ()
    """Kinds of questions that need no tool; all of them unless said."""
    is_terse: bool = False

    def plan(self) -> Plan:
        """A new one."""
        return Plan(self.world, self.state, self.rng)

    def writing(self) -> str:
        """A tool that changes something and that people know how to ask for."""
        return self._one([name for name, tool in self.world.tools.items() if tool.say])

    def field(self, *types: str) -> tuple[str, str]:
        """A table, and a field of it that somebody may ask for.

        Args:
            types: of the field; any unless given.
        """
        tables = [
            (table, name)
            for table, spec in self.world.tables.items()
            for name, field in spec.fields.items()
            if field.label and (field.type in types if types else self._is_said(field))
        ]
        return self.rng.choice(tables) if tables else _none()

    def _is_said(self, field: Field) -> bool:
        """People ask for values and names, not for ids."""
        table = self.world.tables.get(field.to)
        if table is not None:
            return table.fields[table.key].type != "id"
        return field.type not in ("bool", "id")

    def key(self, table: str) -> Value:
        """A row of a table."""
        rows = self.state.find(table, {}, most=-1)
        if not rows:
            raise NoWay
        return self.rng.choice(rows)[self.world.tables[table].key]

    def call(self, name: str, *, broken: bool = False) -> tuple[dict[str, Value], str]:
        """Arguments that a tool would take and that change something.

        Args:
            name: of the tool.
            broken: whether a rule shall forbid it: exactly one does then, otherwise none.

        Returns:
            The arguments, and the number of the rule.

        Raises:
            NoWay: none were found.
        """
        tool = self.world.tools[name]
        for _ in range(TRIES):
            given: dict[str, Value] = {
                each: self.key(one.row) if one.row else value(one.as_field, self.rng)
                for each, one in tool.parameters.items()
            }
            try:
                rules, changes = planned(self.world, self.state, name, given)
            except Refused:
                continue
            rows = (
                self.state.row(change.table, change.key) if change.kind == "update" else None
                for change in changes
            )
            does = any(
                row is None or any(row[each] != new for each, new in change.values.items())
                for row, change in zip(rows, changes, strict=True)
            )
            if does and len(rules) == int(broken):
                return given, rules[0] if rules else ""
        raise NoWay

    def act(self, plan: Plan, name: str, given: dict[str, Value], *, without: str = "") -> str:
        """The verb phrase that asks for a call.

        Args:
            plan: that the rows are looked up in.
            name: of the tool.
            given: its arguments.
            without: a parameter that the phrase leaves out.
        """
        tool = self.world.tools[name]
        said = self._phrase(tool, without)
        words = {
            each: plan.refer(one.row, given[each]) if one.row else str(given[each])
            for each, one in tool.parameters.items()
            if each != without
        }
        return spoken(said, words)

    def says(self, ask: str, answer: str) -> bool:
        """Whether a request says its own answer."""
        return re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", ask, re.I) is not None

    def left_out(self, name: str) -> str:
        """A parameter that a request may forget."""
        tool = self.world.tools[name]
        return self._one(sorted({each for said in tool.say for each in optional(said)}))

    def changed(self, name: str) -> set[str]:
        """The tables that a tool changes."""
        tool = self.world.tools[name]
        return {
            effect.insert or tool.parameters[effect.update or effect.delete].row
            for effect in tool.do
        }

    def _phrase(self, tool: Tool, without: str) -> str:
        return self._one([said for said in tool.say if not without or without in optional(said)])

    def _one(self, names: list[str]) -> str:
        return self.rng.choice(names) if names else _none()


def _none() -> NoReturn:
    raise NoWay
