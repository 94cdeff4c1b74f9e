"""Worlds: tables, tools that read and change them, rules, and tasks with an end to be checked.

    domains/*.toml ──► compose ──► World ──► rows ──► State ──► draw ──► prove ──► WorldTask
                                    tools ──► run ──────────────► grade by the end state

Everything in a domain is data that is interpreted here: nothing of it is ever executed.
"""

from munro.envs.worlds.compose import World, compose
from munro.envs.worlds.errors import BadWorld
from munro.envs.worlds.spec import Domain, available, domain
from munro.envs.worlds.state import State
from munro.envs.worlds.task import Call, WorldTask

__all__ = [
    "BadWorld",
    "Call",
    "Domain",
    "State",
    "World",
    "WorldTask",
    "available",
    "compose",
    "domain",
]
