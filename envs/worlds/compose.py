"""From domains to one world: tables and tools under one roof, and what a caller is told of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from munro.envs.worlds.errors import BadWorld
from munro.envs.worlds.expression import Expression, parse
from munro.envs.worlds.spec import Domain, Effect, Field, Parameter, Rule, Table, Tool

Schema = Mapping[str, Any]

TYPES = {"int": "integer", "bool": "boolean"}
"""JSON's name of a field's type, where it is no string."""
REPLIES = """\
When you are done, or cannot go on, reply without a call and end with a line "Answer: ...":
- asked for something that is known: the value alone; several in the order asked, with ; between
- asked to do something: done
- a rule forbids it: refused, and the rule's number. Look up what a rule depends on before you act
- the request leaves out what a tool needs and no tool tells: missing, and the parameter's name
- none of your tools can do it: no tool
- no tool is needed: the answer, without a call"""


@dataclass(frozen=True)
class World:
    """Everything but the rows. Names of tables are DOMAIN.TABLE; of tools as the domains have them.

    Example:
        compose({"shop": domain("shop"), "bank": domain("bank")})
    """

    domains: Mapping[str, Domain]
    tables: Mapping[str, Table]
    tools: Mapping[str, Tool]
    rules: tuple[Rule, ...]

    @cached_property
    def schemas(self) -> Mapping[str, Schema]:
        """JSON schemas of all tools, in the OpenAI shape, by name."""
        return {name: self._schema(name, tool) for name, tool in self.tools.items()}

    @cached_property
    def conditions(self) -> Mapping[str, Expression]:
        """What each rule forbids, by the rule's number."""
        return {rule.id: parse(rule.forbids) for rule in self.rules}

    def ruled(self, tool: str) -> list[Rule]:
        """The rules of a tool."""
        return [rule for rule in self.rules if rule.tool == tool]

    def policy(self, tools: Sequence[str]) -> str:
        """What a caller who has these tools is told before anything is asked."""
        about = " ".join(domain.about for domain in self.domains.values())
        rules = [f"{rule.id}: {rule.text}" for rule in self.rules if rule.tool in tools]
        told = ["You act for a user by calling tools. " + about]
        if rules:
            told.append("\n".join(["Rules, which no tool enforces:", *rules]))
        return "\n\n".join([*told, REPLIES])

    def _schema(self, name: str, tool: Tool) -> Schema:
        properties: dict[str, Any] = {}
        if tool.find:
            fields = self.tables[tool.find].fields
            for each in tool.by:
                properties[each] = self._typed(fields[each], "")
        for each, parameter in tool.parameters.items():
            if parameter.row:
                noun, key = self.tables[parameter.row].noun or "row", self.tables[parameter.row].key
                properties[each] = {
                    "type": "string",
                    "description": parameter.about or f"{key} of the {noun}",
                }
            else:
                properties[each] = self._typed(parameter.as_field, parameter.about)
        parameters = {
            "type": "object",
            "properties": properties,
            "required": [*properties],
            "additionalProperties": False,
        }
        function = {"name": name, "description": tool.about, "parameters": parameters}
        return {"type": "function", "function": function}

    def _typed(self, field: Field, about: str) -> Schema:
        schema: dict[str, Any] = {"type": TYPES.get(field.type, "string")}
        if field.type == "choice":
            schema["enum"] = [*field.parts[0]]
        elif field.type == "int":
            schema |= {"minimum": field.low, "maximum": field.high}
        if field.type == "day":
            about = about or "YYYY-MM-DD"
        elif field.to:
            table = self.tables[field.to]
            about = about or f"{table.key} of the {table.noun or 'row'}"
        return schema | ({"description": about} if about else {})


def compose(domains: Mapping[str, Domain]) -> World:
    """One world of several domains.

    Raises:
        BadWorld: two of them cannot be told apart, or references go round in a circle.
    """
    if not domains:
        raise BadWorld("A world needs at least one domain.")
    taken = [name for domain in domains.values() for name in domain.tools]
    tables: dict[str, Table] = {}
    tools: dict[str, Tool] = {}
    rules: list[Rule] = []
    for place, domain in domains.items():
        new = {name: f"{place}_{name}" if taken.count(name) > 1 else name for name in domain.tools}
        tables |= {f"{place}.{name}": _placed(place, one) for name, one in domain.tables.items()}
        tools |= {new[name]: _tool(place, tool) for name, tool in domain.tools.items()}
        rules += [rule.model_copy(update={"tool": new[rule.tool]}) for rule in domain.rules]
    _told_apart([table.noun for table in tables.values() if table.noun], "a noun")
    _told_apart([rule.id for rule in rules], "the number of a rule")
    _told_apart([*tools], "the name of a tool")
    return World(domains, order_of(tables), tools, tuple(rules))


def order_of(tables: Mapping[str, Table]) -> dict[str, Table]:
    """The tables, each after those that it points into.

    Raises:
        BadWorld: they point round in a circle.
    """
    rest, order = dict(tables), dict[str, Table]()
    while rest:
        free = [
            name
            for name, table in rest.items()
            if not any(field.to in rest for field in table.fields.values())
        ]
        if not free:
            raise BadWorld(f"the references of {', '.join(rest)} go round in a circle")
        order |= {name: rest.pop(name) for name in free}
    return order


def _told_apart(names: Sequence[str], what: str) -> None:
    for name in names:
        if names.count(name) > 1:
            raise BadWorld(f"{name!r} is {what} twice in this world: leave one of the domains out")


def _placed(place: str, table: Table) -> Table:
    fields = {
        name: field.model_copy(update={"to": f"{place}.{field.to}"}) if field.to else field
        for name, field in table.fields.items()
    }
    return table.model_copy(update={"fields": fields})


def _tool(place: str, tool: Tool) -> Tool:
    parameters: dict[str, Parameter] = {
        name: one.model_copy(update={"row": f"{place}.{one.row}"}) if one.row else one
        for name, one in tool.parameters.items()
    }
    do: tuple[Effect, ...] = tuple(
        one.model_copy(update={"insert": f"{place}.{one.insert}"}) if one.insert else one
        for one in tool.do
    )
    find = f"{place}.{tool.find}" if tool.find else ""
    return tool.model_copy(update={"find": find, "parameters": parameters, "do": do})
