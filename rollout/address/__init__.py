"""An address in the OpenAI API's shape for one attempt of somebody's own agent.

    agent ──HTTP──► server ──► asked (what is honoured) ──► session ──► engine
                                                               │ tokens of every run, as a tree
                                                               └──► Trajectory

A request whose messages go on from what was said is the same run of tokens, to which only what is
new is appended; any other begins another run of the same attempt, from the last token that both
have in common. What the policy wrote is never tokenised again where a run goes on.
"""

from __future__ import annotations

from munro.rollout.address.play import Patience, play
from munro.rollout.address.server import Addresses
from munro.rollout.address.session import Policy, Session

__all__ = ["Addresses", "Patience", "Policy", "Session", "play"]
