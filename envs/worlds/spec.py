"""What a domain says of itself in TOML: tables, tools, rules. Data, which nobody executes.

[tables.product]                      rows of one kind, made by chance
[tools.find_product]                  find = "product": looks rows up
[tools.place_order]                   parameters, require, do: changes rows
[[rules]]                             what the tools would do, and must not be asked to
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field as Key
from pydantic import StringConstraints, ValidationError, model_validator

from munro.envs.worlds.errors import BadWorld
from munro.envs.worlds.expression import Expression, names, parse
from munro.rewards.config import Config

HERE = Path(__file__).parent / "domains"

Word = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z_0-9]{0,39}$")]
Text = Annotated[str, StringConstraints(max_length=400)]
MOST_TABLES, MOST_TOOLS, MOST_FIELDS = 20, 40, 40
"""Of one domain, and of one table."""
SLOT = re.compile(r"\{([a-z_0-9]*)\}")


class Field(Config):
    """One field of a table: what it holds, and how a person speaks of it."""

    type: Literal["id", "text", "person", "int", "day", "bool", "choice", "ref"]
    """"id" is made by us; "person" a name of one; "day" a date; "ref" the key of another row."""
    to: Word | Literal[""] = ""
    """The table that a "ref" points into."""
    prefix: Annotated[str, StringConstraints(max_length=4)] = ""
    """Letters in front of an "id"."""
    digits: int = Key(4, ge=1, le=8)
    """Of an "id"."""
    parts: tuple[tuple[Text, ...], ...] = ()
    """Of a "text": one of each list, put together; of a "choice": a single list."""
    join: Annotated[str, StringConstraints(max_length=4)] = " "
    """What stands between the parts."""
    low: int = 0
    """Least value of an "int"; of a "day", days after 2026-01-01."""
    high: int = 9
    """Largest one."""
    label: Text = ""
    """What a question calls it ("price"); nobody asks for a field without one."""
    say: Text = ""
    """How it tells rows apart in a request ("placed on {}"); without it, it does not."""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.type in ("text", "choice") and not all([self.parts, *self.parts]):
            raise ValueError(f'a "{self.type}" needs parts = [[...]], none of them empty')
        if (self.type == "ref") != bool(self.to):
            raise ValueError('to = "TABLE" belongs to a "ref", and to nothing else')
        if self.low > self.high:
            raise ValueError(f"low = {self.low} is more than high = {self.high}")
        return self


class Table(Config):
    """Rows of one kind."""

    noun: Text
    """What a person calls a row: "order"; empty where the key says it all."""
    key: Word = "id"
    """The field that names a row: an "id", or a text that is never given twice."""
    rows: int = Key(8, ge=0, le=2000)
    """Made for a world of size 1."""
    fields: dict[Word, Field] = Key(min_length=1, max_length=MOST_FIELDS)

    @model_validator(mode="after")
    def _has_a_key(self) -> Self:
        key = self.fields.get(self.key)
        if key is None or key.type not in ("id", "text", "person"):
            raise ValueError(f'key = "{self.key}" must be a field of type id, text or person')
        if [name for name, one in self.fields.items() if one.type == "id"] not in ([], [self.key]):
            raise ValueError("only the key may be of type id")
        return self


class Parameter(Config):
    """What a tool that changes something is told."""

    row: Word | Literal[""] = ""
    """The table of which it names a row; otherwise it is a plain value."""
    type: Literal["int", "text", "day", "bool", "choice"] = "text"
    """Of a plain value."""
    parts: tuple[tuple[Text, ...], ...] = ()
    """As of a field."""
    join: Annotated[str, StringConstraints(max_length=4)] = " "
    low: int = 0
    high: int = 9
    about: Text = ""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if not self.row and self.type in ("text", "choice") and not all([self.parts, *self.parts]):
            raise ValueError(f'a "{self.type}" needs parts = [[...]], none of them empty')
        return self

    @property
    def as_field(self) -> Field:
        """A plain one as a field of the same values."""
        said = {"type": self.type, "parts": self.parts, "join": self.join}
        return Field.model_validate({**said, "low": self.low, "high": self.high})


class Condition(Config):
    """What must hold before a tool does anything."""

    that: Text
    otherwise: Text
    """What the caller is told where it does not."""


class Effect(Config):
    """One change: exactly one of the three, and the values."""

    insert: Word | Literal[""] = ""
    """A table that gets a new row; from then on it is known by the table's name with `new_` in
    front."""
    update: Word | Literal[""] = ""
    """A parameter whose row changes."""
    delete: Word | Literal[""] = ""
    """A parameter whose row goes."""
    set: dict[Word, Text] = Key(default_factory=dict)
    """Fields and the expressions of their values."""

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if sum(map(bool, (self.insert, self.update, self.delete))) != 1:
            raise ValueError("say exactly one of insert, update and delete")
        if bool(self.set) == bool(self.delete):
            raise ValueError("set = {...} belongs to insert and update")
        return self


class Tool(Config):
    """Something that can be called. With `find` it looks rows up, otherwise it changes some."""

    about: Text
    find: Word | Literal[""] = ""
    """The table whose rows it tells."""
    by: tuple[Word, ...] = ()
    """Fields that the caller gives: rows that have these very values are found."""
    many: bool = False
    """It tells all rows found, as a list; otherwise there must be exactly one."""
    tell: tuple[Word, ...] = ()
    """Fields it tells; a single one as it is, several as JSON. Of a tool that changes something,
    fields of the first row that it makes."""
    say: tuple[Text, ...] = ()
    """How a person asks for it: "extend {loan}[ by {days} days]"; brackets hold what may be
    forgotten."""
    parameters: dict[Word, Parameter] = Key(default_factory=dict)
    require: tuple[Condition, ...] = ()
    do: tuple[Effect, ...] = ()

    @model_validator(mode="after")
    def _is_one_thing(self) -> Self:
        if self.find and (self.parameters or self.do or self.require or not self.tell):
            raise ValueError("a tool with find has by and tell, and neither parameters nor do")
        if not self.find and not (self.do and self.parameters):
            raise ValueError("a tool without find needs parameters and do")
        for said in self.say:
            for name in SLOT.findall(said):
                if name not in self.parameters:
                    raise ValueError(f"say = {said!r} names {name!r}, which is no parameter")
        return self

    @property
    def writes(self) -> bool:
        """It changes something."""
        return not self.find


class Rule(Config):
    """What a tool would do, and nobody may ask it to."""

    id: Annotated[str, StringConstraints(pattern=r"^[A-Z]{1,3}[0-9]{1,3}$")]
    text: Text
    """As the caller reads it."""
    tool: Word
    forbids: Text
    """A condition on the tool's parameters: where it holds, the call is forbidden."""


class Domain(Config):
    """One part of the world."""

    about: Text
    tables: dict[Word, Table] = Key(min_length=1, max_length=MOST_TABLES)
    tools: dict[Word, Tool] = Key(min_length=1, max_length=MOST_TOOLS)
    rules: tuple[Rule, ...] = ()

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        for where, wrong in self._loose_ends():
            raise ValueError(f"{where}: {wrong}")
        return self

    def _loose_ends(self) -> Iterator[tuple[str, str]]:
        for name, table in self.tables.items():
            for each, field in table.fields.items():
                if field.to and field.to not in self.tables:
                    yield f"tables.{name}.fields.{each}", f"there is no table {field.to!r}"
        for name, tool in self.tools.items():
            where = f"tools.{name}"
            for table_name in (tool.find, *(effect.insert for effect in tool.do)):
                if table_name and table_name not in self.tables:
                    yield where, f"there is no table {table_name!r}"
                    return
            yield from self._loose_ends_of(where, tool)
        for rule in self.rules:
            where = f"rule {rule.id}"
            ruled = self.tools.get(rule.tool)
            if ruled is None or not ruled.writes:
                yield where, f"{rule.tool!r} is no tool that changes something"
            else:
                yield from self._unknown(where, ruled, rule.forbids)

    def _loose_ends_of(self, where: str, tool: Tool) -> Iterator[tuple[str, str]]:
        if tool.find:
            there = self.tables[tool.find].fields
            for name in (*tool.by, *tool.tell):
                if name not in there:
                    yield where, f"the table {tool.find!r} has no field {name!r}"
            return
        for name, parameter in tool.parameters.items():
            if parameter.row and parameter.row not in self.tables:
                yield f"{where}.parameters.{name}", f"there is no table {parameter.row!r}"
                return
        for condition in tool.require:
            yield from self._unknown(where, tool, condition.that)
        for effect in tool.do:
            yield from self._loose_effect(where, tool, effect)

    def _loose_effect(self, where: str, tool: Tool, effect: Effect) -> Iterator[tuple[str, str]]:
        bound = effect.update or effect.delete
        parameter = tool.parameters.get(bound)
        if bound and (parameter is None or not parameter.row):
            yield where, f"{bound!r} is no parameter that names a row"
            return
        table = self.tables[effect.insert or (parameter.row if parameter else "")]
        for name, value in effect.set.items():
            if name not in table.fields or table.fields[name].type == "id":
                yield where, f"the field {name!r} cannot be set"
            yield from self._unknown(where, tool, value)
        unset = {name for name, one in table.fields.items() if one.type != "id"} - effect.set.keys()
        if effect.insert and unset:
            yield where, f"insert leaves {', '.join(sorted(unset))} unset"

    def _unknown(self, where: str, tool: Tool, text: str) -> Iterator[tuple[str, str]]:
        """Names in an expression that nothing stands behind."""
        try:
            expression: Expression = parse(text)
        except BadWorld as error:
            yield where, str(error)
            return
        made = {f"new_{effect.insert}": effect.insert for effect in tool.do if effect.insert}
        for head, *rest in names(expression):
            parameter = tool.parameters.get(head)
            table = parameter.row if parameter else made.get(head)
            if table is None:
                yield where, f"{text!r} names {head!r}, which is no parameter"
            for step in rest:
                field = self.tables[table].fields.get(step) if table in self.tables else None
                if field is None:
                    yield where, f"{text!r}: {table or head!r} has no field {step!r}"
                    return
                table = field.to


def read(text: str, where: str) -> Domain:
    """A domain out of TOML.

    Raises:
        BadWorld: it is none.
    """
    try:
        return checked(tomllib.loads(text), where)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise BadWorld(f"{where} is no TOML: {error}") from error


def checked(data: Any, where: str) -> Domain:
    """A domain out of what TOML or JSON holds.

    Raises:
        BadWorld: it is none.
    """
    try:
        return Domain.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        message = first["msg"].removeprefix("Value error, ")
        raise BadWorld(f"{where}: {f'{place}: ' if place else ''}{message}") from error


def domain(name: str) -> Domain:
    """The domain of that name, or in the file of that path.

    Raises:
        BadWorld: there is none, or it is none.
    """
    file = Path(name).expanduser() if name.endswith(".toml") else HERE / f"{name}.toml"
    if not file.is_file() or (file.parent == HERE and name not in available()):
        raise BadWorld(
            f"There is no domain {name!r}; there are: {', '.join(available())}, and a file of your "
            "own by its path (.toml)."
        )
    return read(file.read_text(encoding="utf-8"), name)


def available() -> dict[str, str]:
    """The names of the domains that come along, and their files' first lines."""
    lines = {}
    for file in sorted(HERE.glob("*.toml")):
        with file.open(encoding="utf-8") as text:
            lines[file.stem] = next(text, "").removeprefix("#").strip()
    return lines
