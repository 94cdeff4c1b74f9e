"""What the arguments of several commands have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from munro.machine.errors import BadConfig

Command = TypeVar("Command", bound=Callable[..., Any])

OVERRIDABLE = {"ignore_unknown_options": True, "allow_extra_args": True}
"""Of a command whose further options override keys."""


def first(name: str) -> Callable[[Command], Command]:
    """The argument that a command begins with."""
    return click.argument(name, callback=_is_no_option)


def _is_no_option(context: click.Context, argument: click.Parameter, value: str) -> str:
    """Where options may be anything, a forgotten argument makes the first of them take its place.

    Raises:
        BadConfig: it did.
    """
    if not value.startswith("-"):
        return value
    what, command = argument.human_readable_name, context.command_path
    raise BadConfig(f"{what} is missing: write {command} {what}, then {value} and other options")
