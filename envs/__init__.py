"""What the model must do: tasks, environments, the registry, and the built-in environments."""

from __future__ import annotations

from envs.base import Environment, Episode, SingleTurn
from envs.types import Ending, Message, Task, ToolCall, Trajectory
from rewards.types import Grade

__all__ = [
    "Ending",
    "Environment",
    "Episode",
    "Grade",
    "Message",
    "SingleTurn",
    "Task",
    "ToolCall",
    "Trajectory",
]
