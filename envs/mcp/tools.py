"""Tools of several servers under names of their own, as the schemas that a model is shown.

A server's name for a tool is kept where it is the only one; where two servers have it, both become
SERVER__TOOL.
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from munro.envs.mcp.errors import BadServer
from munro.envs.tool_use import is_text
from munro.rewards.plugins import nearest

CALLABLE = re.compile(r"[A-Za-z0-9_-]{1,64}")
LONGEST_NAME = 64
MOST_SCHEMA = 64 << 10
"""Characters of one tool's schema."""
MOST_DESCRIPTION = 4_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """One tool, as a model may call it.

    Example:
        Offered(name="add", server="sums", own_name="add", schema={...}, is_read_only=True)
    """

    name: str
    server: str
    own_name: str
    """Of the server."""
    schema: Mapping[str, Any]
    """In the OpenAI shape."""
    is_read_only: bool
    """Calls of it may run at once: so the server says."""


def catalogue(listed: Mapping[str, Iterable[Any]]) -> dict[str, Offered]:
    """Every tool by the name that a model calls it by, in the servers' order.

    Args:
        listed: by the server's name its tools (`mcp_types.Tool`).

    Raises:
        BadServer: one server lists a name twice.
    """
    tools = [(server, tool) for server, each in listed.items() for tool in each]
    wanted = Counter(name for _, name in {(server, plain(tool.name)) for server, tool in tools})
    offered: dict[str, Offered] = {}
    for server, tool in tools:
        name = plain(tool.name)
        if wanted[name] > 1:
            name = plain(f"{server}__{tool.name}")
        if name in offered:
            raise BadServer(
                f"the server {server!r} lists two tools that are called {name!r}: leave one out "
                f"(servers.{server}.without)."
            )
        offered[name] = Offered(
            name=name,
            server=server,
            own_name=tool.name,
            schema={
                "type": "function",
                "function": {
                    "name": name,
                    "description": (tool.description or "")[:MOST_DESCRIPTION],
                    "parameters": dict(tool.input_schema),
                },
            },
            is_read_only=bool(tool.annotations and tool.annotations.read_only_hint),
        )
    return offered


def plain(name: str) -> str:
    """A name that every family of models can call."""
    if CALLABLE.fullmatch(name):
        return name
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)[:LONGEST_NAME] or "tool"


def shown(
    offered: Sequence[str],
    allowed: Sequence[str] | None,
    needed: Sequence[str] | None,
    most: int,
    seed: str,
) -> tuple[str, ...]:
    """The names that one task shows.

    Args:
        offered: all there are.
        allowed: that the task may show; None where it does not say.
        needed: that it cannot do without; None where nobody knows.
        most: in all, others drawn beside the needed ones; 0 for the allowed ones, or for all.
        seed: of the draw.

    Raises:
        BadServer: one that is named is not there, or nobody knows which may be left out.
    """
    for name in (*(allowed or ()), *(needed or ())):
        if name not in offered:
            raise BadServer(f"there is no tool {name!r}. {nearest(name, offered)}")
    if not most or most >= len(offered):
        chosen = {*offered} if allowed is None or most else {*allowed}
    elif needed is None:
        raise BadServer(
            f"tools_shown = {most} of {len(offered)} tools, and the row does not say which it "
            "needs: give it tools or calls (tools = [] where it needs none)."
        )
    else:
        others = [name for name in offered if name not in needed]
        rng = random.Random(seed)
        chosen = {*needed, *rng.sample(others, max(min(most, len(offered)) - len(needed), 0))}
    return tuple(name for name in offered if name in chosen)


def check_schema(tool: Offered) -> None:
    """Raises BadServer where what a tool takes is said by no JSON schema."""
    function = tool.schema["function"]
    try:
        if not is_text(function):
            why = "it holds half a surrogate pair, which is no text"
        else:
            why = _why_none(json.dumps(function["parameters"]))
    except (RecursionError, ValueError, TypeError) as error:
        why = f"{type(error).__name__}: {str(error)[:100]}"
    if why:
        raise BadServer(
            f"the server {tool.server!r}: the schema of its tool {tool.own_name[:64]!r} is none "
            f"({why}). Mend it, or leave the tool out: servers.{tool.server}.without."
        )


@lru_cache(maxsize=4096)
def _why_none(written: str) -> str:
    """Why that is no schema of a tool's arguments; empty where it is one."""
    from jsonschema import SchemaError  # type: ignore[import-untyped]
    from jsonschema.validators import validator_for  # type: ignore[import-untyped]

    if len(written) > MOST_SCHEMA:
        return f"it has more than {MOST_SCHEMA} characters"
    parameters = json.loads(written)
    if parameters.get("type", "object") != "object":
        return f"its type is {parameters['type']!r:.40}, and must be 'object'"
    try:
        validator_for(parameters).check_schema(parameters)
    except SchemaError as error:
        place = ".".join(map(str, error.absolute_path)) or "all of it"
        return f"{place}: {error.message[:120]}"
    return ""
