"""Servers and problem workers as Ray actors: placement, fan-out, and what a death turns into.

    Solvers (driver) ──► problem workers ──► Router ──► inference servers ◄── Servers (driver)
                               └──► Stores (one a node) ◄── learner's ranks

Ray restarts an actor whose process died. What was under way there fails: at this door it becomes a
`PolicyError` (a server: the router tries elsewhere) or is handed out again (a worker).
"""

from __future__ import annotations

from munro.rollout.cluster.server import ServerHandle
from munro.rollout.cluster.servers import Servers
from munro.rollout.cluster.solvers import Solvers
from munro.rollout.cluster.stores import Stores
from munro.rollout.setting import Setting

__all__ = ["ServerHandle", "Servers", "Setting", "Solvers", "Stores"]
