"""What the model must do: tasks, environments, the registry, and the built-in environments."""

from __future__ import annotations

from envs.base import Environment, Episode, SingleTurn
from envs.loader import BadEnvironment, EnvironmentNotFound, available, load
from envs.tool_use import ToolError, ToolUse, tool
from envs.types import Ending, Message, Task, ToolCall, Trajectory
from rewards.types import Grade

__all__ = [
    "BadEnvironment",
    "Ending",
    "Environment",
    "EnvironmentNotFound",
    "Episode",
    "Grade",
    "Message",
    "SingleTurn",
    "Task",
    "ToolCall",
    "ToolError",
    "ToolUse",
    "Trajectory",
    "available",
    "load",
    "tool",
]
