"""How a perfect policy comes to know what a request leaves it to find out.

A request speaks of rows as people do ("the loan of the member Ann Lee due on 2026-03-05"). Whoever
must name the row to a tool has to look the member up, then the loans, and to choose. A plan says
both: the words of the request, and the calls that its words make necessary, each after those whose
answers it needs.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field

from munro.envs.worlds.compose import World
from munro.envs.worlds.errors import NoWay
from munro.envs.worlds.expression import Value, names
from munro.envs.worlds.rows import Row
from munro.envs.worlds.run import MOST_TOLD, Fact, perform
from munro.envs.worlds.spec import Tool
from munro.envs.worlds.state import State
from munro.envs.worlds.task import Call

ID_SAID = 0.2
"""How often a request gives an id where it could describe the row."""
ROUNDABOUT = 0.2
"""How often it names a row by another one that points to it."""
DEEPEST = 3
"""Rows that are described by rows."""


@dataclass(frozen=True, slots=True)
class Step:
    """A call and the places of those it needs the answers of."""

    call: Call
    after: frozenset[int]
    writes: bool = False


@dataclass
class Plan:
    """What is said and looked up for one task. Grows as the task is drawn; reads the state only."""

    world: World
    state: State
    rng: random.Random
    steps: list[Step] = field(default_factory=list)
    uses: set[Fact] = field(default_factory=set)
    """What the request does not say and the calls and the answer depend on."""
    _told: dict[Fact, frozenset[int]] = field(default_factory=dict)
    """By which steps; by none where the request says it."""
    _said: dict[tuple[str, str], str] = field(default_factory=dict)
    _pointed: dict[Fact, Fact] = field(default_factory=dict)
    """Keys that are known because another row says them."""
    """How each row is called."""

    def refer(self, table: str, key: Value, depth: int = 0) -> str:
        """How the request calls a row; from then on its key is known.

        Raises:
            NoWay: it cannot be told from others, or no tool leads to it.
        """
        who = (table, str(key))
        if who not in self._said:
            self._said[who] = self._called(table, key, depth)
        return self._said[who]

    def learn(self, table: str, key: Value, name: str) -> frozenset[int]:
        """Find a field out; of a row whose key is known.

        Returns:
            The steps after which it is known.

        Raises:
            NoWay: no tool tells it.
        """
        fact = (table, str(key), name)
        spec = self.world.tables[table]
        if fact not in self._told:
            telling = [
                each
                for each, tool in self.world.tools.items()
                if tool.find == table and name in tool.tell and tool.by == (spec.key,)
            ]
            if not telling:
                raise NoWay
            self._look_up(self.rng.choice(telling), {spec.key: key}, self.known(table, key))
        return self._use(fact) | self._told.get((table, str(key), spec.key), frozenset())

    def known(self, table: str, key: Value) -> frozenset[int]:
        """The steps after which a row's key is known.

        Raises:
            NoWay: it is not.
        """
        return self._use((table, str(key), self.world.tables[table].key))

    def check_rules(self, name: str, given: dict[str, Value]) -> frozenset[int]:
        """Find out what the rules of a tool depend on, as everybody who acts must."""
        after: frozenset[int] = frozenset()
        for rule in self.world.ruled(name):
            for head, *rest in names(self.world.conditions[rule.id]):
                table, key = self.world.tools[name].parameters[head].row, given[head]
                for step in rest:
                    after |= self.learn(table, key, step)
                    row = self.state.row(table, key)
                    assert row is not None
                    table, key = self.world.tables[table].fields[step].to, row[step]
        return after

    def write(self, name: str, given: dict[str, Value]) -> None:
        """The call that changes something, after all that it must know."""
        after = self.check_rules(name, given)
        for each, parameter in self.world.tools[name].parameters.items():
            if parameter.row:
                after |= self.known(parameter.row, given[each])
        self.steps.append(Step(Call(name, given), after, writes=True))

    def turns(self) -> tuple[tuple[Call, ...], ...]:
        """The calls, as many at once as may be; what changes something comes last."""
        levels: list[int] = []
        for step in self.steps:
            levels.append(1 + max((levels[place] for place in step.after), default=-1))
        reads = [level for level, step in zip(levels, self.steps, strict=True) if not step.writes]
        last = max(reads, default=-1) + 1
        turns: dict[int, list[Call]] = {}
        for level, step in zip(levels, self.steps, strict=True):
            turns.setdefault(last if step.writes else level, []).append(step.call)
        return tuple(tuple(turns[level]) for level in sorted(turns))

    def _called(self, table: str, key: Value, depth: int) -> str:
        if depth > DEEPEST:
            raise NoWay
        spec = self.world.tables[table]
        noun = spec.noun
        is_named = spec.fields[spec.key].type != "id"
        inverse = [
            (other, each)
            for other, one in self.world.tables.items()
            for each, pointer in one.fields.items()
            if pointer.to == table and pointer.label and depth < DEEPEST
        ]
        if inverse and self.rng.random() < ROUNDABOUT:
            return self._by_another(*self.rng.choice(inverse), key, depth)
        ways = [] if is_named else self._tools_to(table)
        if is_named or not ways or self.rng.random() < ID_SAID:
            self._told.setdefault((table, str(key), spec.key), frozenset())
            if not noun:
                # as it stands in a call, so that a model which reads letters finds the same ones
                return f'"{key}"'
            return f"{'the ' if is_named else ''}{noun} {key}"
        name = self.rng.choice(ways)
        return f"the {noun} {self._by_looking_up(name, self.world.tools[name], key, depth)}"

    def _tools_to(self, table: str) -> list[str]:
        key = self.world.tables[table].key
        return [
            name
            for name, tool in self.world.tools.items()
            if tool.find == table and key in tool.tell and tool.by and key not in tool.by
        ]

    def _by_another(self, other: str, each: str, key: Value, depth: int) -> str:
        """The row that another one points to: "the book of the loan ..."."""
        rows = self.state.find(other, {each: key}, most=MOST_TOLD)
        if not rows:
            raise NoWay
        spec = self.world.tables[other]
        its_key = self.rng.choice(rows)[spec.key]
        words = f"the {spec.fields[each].label} of {self.refer(other, its_key, depth + 1)}"
        table = spec.fields[each].to
        fact = (table, str(key), self.world.tables[table].key)
        if fact in self._told:
            raise NoWay
        # who is told the pointer has the key of what it points to
        self._told[fact] = self.learn(other, its_key, each)
        self._pointed[fact] = (other, str(its_key), each)
        return words

    def _by_looking_up(self, name: str, tool: Tool, key: Value, depth: int) -> str:
        """What tells a row from the others that a tool finds."""
        table = tool.find
        spec = self.world.tables[table]
        row = self.state.row(table, key)
        assert row is not None
        words, after = [], frozenset[int]()
        for each in tool.by:
            one = spec.fields[each]
            told = str(row[each])
            if one.to:
                told = self.refer(one.to, row[each], depth + 1)
                after |= self.known(one.to, row[each])
            elif one.type == "bool":
                raise NoWay
            words.append((one.say or ("of {}" if one.to else "{}")).replace("{}", told))
        given = {each: row[each] for each in tool.by}
        others = [
            one for one in self.state.find(table, given, most=MOST_TOLD + 1) if one[spec.key] != key
        ]
        if len(others) >= MOST_TOLD:
            raise NoWay
        step = self._look_up(name, given, after)
        if others:
            said, chosen = self._told_apart(tool, row, others, depth)
            words.append(said)
            step |= chosen
        fact = (table, str(key), spec.key)
        self._told[fact] = step
        return " ".join(words)

    def _told_apart(
        self, tool: Tool, row: Row, others: Iterable[Row], depth: int
    ) -> tuple[str, frozenset[int]]:
        """A field that the tool tells and that no other row has the same, and how it is said."""
        spec = self.world.tables[tool.find]
        differing = [
            each
            for each in tool.tell
            if each not in (spec.key, *tool.by)
            and spec.fields[each].say
            and all(one[each] != row[each] for one in others)
        ]
        if not differing:
            raise NoWay
        each = self.rng.choice(differing)
        one = spec.fields[each]
        self.uses.add((tool.find, str(row[spec.key]), each))
        if not one.to:
            return one.say.replace("{}", str(row[each])), frozenset()
        said = self.refer(one.to, row[each], depth + 1)
        return one.say.replace("{}", said), self.known(one.to, row[each])

    def _look_up(self, name: str, given: dict[str, Value], after: frozenset[int]) -> frozenset[int]:
        """The step that looks rows up; a step that is there already is not made again."""
        call = Call(name, given)
        for place, step in enumerate(self.steps):
            if step.call.key == call.key:
                return frozenset({place})
        result = perform(self.world, self.state, name, given)
        if result.error:
            raise NoWay
        self.steps.append(Step(call, after))
        made = frozenset({len(self.steps) - 1})
        for fact in result.told:
            # of a key that is told among others nobody knows yet whose it is
            if fact[2] != self.world.tables[fact[0]].key:
                self._told.setdefault(fact, made)
        return made

    def _use(self, fact: Fact) -> frozenset[int]:
        if fact not in self._told:
            raise NoWay
        steps = self._told[fact]
        if steps:
            self.uses.add(self._pointed.get(fact, fact))
        return steps
