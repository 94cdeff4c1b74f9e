"""What can be wrong with a world, and what a draw of a task may end in."""

from __future__ import annotations


class BadWorld(ValueError):
    """A world or a task of one that cannot be used; the message is one sentence that says why."""

    is_sentence = True


class NoWay(Exception):
    """This draw makes no task; another one may."""


class Refused(Exception):
    """A tool refuses a call: its text is what the caller reads."""
