"""A domain out of plain English, written by a judge and believed in nothing.

    wish ──► judge ──► TOML ──► read ──► audit ──► tasks drawn ──► a domain
               ▲                  │        │           │
               └── what is wrong ─┴────────┴───────────┘   a line, as a person would be told it

What it writes is data like anybody's: nothing of it is executed.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from munro.envs.worlds.compose import World, compose
from munro.envs.worlds.errors import BadWorld
from munro.envs.worlds.making.audit import audit
from munro.envs.worlds.making.draw import Menu, draw
from munro.envs.worlds.rows import draw as draw_rows
from munro.envs.worlds.spec import HERE, read
from munro.envs.worlds.state import State
from munro.rewards.errors import GraderError
from munro.rewards.judge.access import Access
from munro.rewards.judge.config import JudgeConfig
from munro.rewards.judge.prompts import Prompt
from munro.rewards.judge.verdicts import Verdict

ROUNDS = 4
"""Times that the judge is asked, with what was wrong with its last answer."""
TRIED = 6
"""Draws of rows that the domain is tried on."""
TRIAL: dict[str, float] = {"read": 1.0, "write": 1.0}
"""Kinds that every domain must have tasks of."""
LONGEST = 4000
"""Letters of a wish."""
SAMPLE = "hotel"
"""The domain that the judge is shown."""
TASK = """\
You write a small world for training agents that call tools, as one TOML file: tables with rows made
by chance, tools that look rows up (find, by, tell) or change them (parameters, require, do), and
rules that no tool enforces. Write what the WISH describes, in the form of the SAMPLE and with
nothing that the SAMPLE has not: field types id, text, person, int, day, bool, choice, ref; every
table has a key of type id, or of type text or person and then key = "...". Give every table a noun
that no other table has, every row a tool that finds it by what people know of it and one that tells
all of it by its key, every field that people ask for a label. Each change needs say = [...], with
what may be forgotten in square brackets. A rule forbids what its tool would do all the same. At
least 2 tables, 6 tools, 2 of which change something, and 1 rule. Where a DRAFT and what is WRONG
with it are given, write the DRAFT again with that mended."""


class DomainVerdict(Verdict):
    """A domain."""

    shape = '{"notes": "what tables and tools it needs, shortly", "toml": "the whole TOML file"}'
    toml: str = Field(min_length=20, max_length=60_000)


def write_domain(wish: str, config: JudgeConfig, name: str) -> str:
    """A domain as the judge writes it, tried like any other.

    Args:
        wish: what it shall be about, in plain words.
        config: the judge.
        name: its name, for messages.

    Returns:
        TOML, which `munro.envs.worlds.spec.read` takes.

    Raises:
        BadWorld: there is no wish; the judge has no answer, or none that holds together.
    """
    if not wish.strip() or len(wish) > LONGEST:
        raise BadWorld(f"--from says what the world is about, in at most {LONGEST} letters.")
    try:
        access = Access(config, name)
    except ValueError as error:
        raise BadWorld(str(error)) from error
    parts = {
        "WISH": access.clean(wish),
        "SAMPLE": (HERE / f"{SAMPLE}.toml").read_text(encoding="utf-8"),
    }
    wrong = ""
    for _ in range(ROUNDS):
        prompt = Prompt(task=TASK, parts=parts, verdict=DomainVerdict)
        try:
            written = access.wait(access.asked(prompt, 1))[0].toml
        except GraderError as error:
            raise BadWorld(f"judge {name!r} wrote no domain: {error}") from error
        wrong = fault(written)
        if not wrong:
            return written
        parts |= {"DRAFT": access.clean(written), "WRONG": access.clean(wrong)}
    raise BadWorld(
        f"judge {name!r} wrote no domain that holds together in {ROUNDS} rounds; of the last one: "
        f"{wrong}"
    )


def fault(toml: str) -> str:
    """What is wrong with a domain, in one line; empty where nothing is."""
    try:
        world = compose({"written": read(toml, "the domain")})
        rows: list[Any] = [draw_rows(world, seed=str(seed)) for seed in range(TRIED)]
        bases = [State.of(world, each) for each in rows]
        audit(world, bases)
        for number, base in enumerate(bases):
            draw(world, base, Menu(shares=TRIAL), seed=str(number))
    except BadWorld as error:
        return str(error)
    return _poor(world)


def _poor(world: World) -> str:
    """What a world has too little of to be worth playing."""
    writing = sum(tool.writes for tool in world.tools.values())
    if len(world.tables) < 2 or len(world.tools) < 6 or writing < 2 or not world.rules:
        return "it needs 2 tables, 6 tools of which 2 change something, and a rule"
    return ""
