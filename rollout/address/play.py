"""Let an agent play one attempt, and tell an agent that ended from one that broke."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from munro.envs.agent_run import Address, AgentEpisode
from munro.envs.base import Quit, call
from munro.envs.types import Trajectory
from munro.rewards.errors import EnvironmentFailure, EpisodeError
from munro.rollout.address.server import Addresses
from munro.rollout.address.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long an agent may be silent."""

    start_s: float
    """Before its first request."""
    reply_s: float
    """From an answer to its next request, or to its end."""


async def play(
    name: str,
    episode: AgentEpisode,
    session: Session,
    addresses: Addresses,
    patience: Patience,
) -> Trajectory:
    """Run the agent to its end.

    An agent that raises after a limit of the attempt refused it has been ended by that limit, and
    is graded as it stands. Any other one that raises broke, and is not scored.

    Args:
        name: of the task, for a person.
        episode: runs the agent.
        session: answers it.
        addresses: give it an address.
        patience: with it.

    Raises:
        EpisodeError: the policy could not be had, or the agent broke, was silent for too long, or
            never got an answer.
    """
    async with addresses.opened(session) as address:
        agent = asyncio.ensure_future(_run(name, episode, session, address))
        watch = asyncio.ensure_future(session.watch(patience.start_s, patience.reply_s))
        try:
            await asyncio.wait({agent, watch}, return_when=asyncio.FIRST_COMPLETED)
            if session.failure is not None:
                raise session.failure
            if watch.done():
                watch.result()
            agent.result()
        finally:
            for task in (agent, watch):
                task.cancel()
            await asyncio.gather(agent, watch, return_exceptions=True)
    return session.trajectory()


async def _run(name: str, episode: AgentEpisode, session: Session, address: Address) -> None:
    try:
        await call(episode.run, address)
    except EpisodeError:
        raise
    except Exception as error:
        if session.ending is not None:
            return
        said = str(error) if isinstance(error, Quit) else f"{type(error).__name__}: {error}"
        told = f" (it was last told {session.refusal!r})" if session.refusal else ""
        raise EnvironmentFailure(f"the agent of {name} raised {said}{told}") from error
