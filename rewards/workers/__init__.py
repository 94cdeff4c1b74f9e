"""Killable child processes for work that may blow up in time or memory."""

from __future__ import annotations

from munro.rewards.workers.pool import Outcome, Status, WorkerPool

__all__ = [
    "Outcome",
    "Status",
    "WorkerPool",
]
