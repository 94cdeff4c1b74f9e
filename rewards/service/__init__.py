"""Grading as a service: queues that are fair to tasks, a lane a kind, deadlines, a cluster."""

from __future__ import annotations

from munro.rewards.service.here import close, current, grade, grader, use
from munro.rewards.service.service import GradingService, Service

__all__ = [
    "GradingService",
    "Service",
    "close",
    "current",
    "grade",
    "grader",
    "use",
]
