"""What can be wrong with a server, before a climb and while it runs."""

from __future__ import annotations

from munro.rewards.errors import EnvironmentFailure


class BadServer(ValueError):
    """A server that cannot be used as it was written; the message is one sentence that says why."""

    is_sentence = True


class ServerFailure(EnvironmentFailure):
    """A server died, hangs, or says what is no MCP: the attempt says nothing about the policy."""


def cause(error: BaseException) -> BaseException:
    """What began it: the groups around it are those of the tasks that it passed through."""
    while isinstance(error, BaseExceptionGroup) and error.exceptions:
        error = error.exceptions[0]
    return error
