"""What the model must do: tasks, environments, the registry, and the built-in environments."""

from __future__ import annotations

if __name__ != "munro.envs":  # an older import, or a folder that only happens to be found
    raise ImportError(f"Munro's {__name__!r} is imported as munro.{__name__}", name=__name__)

from munro.envs.agent_run import Address, AgentEpisode, AgentRun
from munro.envs.base import Environment, Episode, SingleTurn
from munro.envs.budget import Budget
from munro.envs.loader import BadEnvironment, EnvironmentNotFound, available, load
from munro.envs.tool_use import ToolError, ToolUse, tool
from munro.envs.types import Answer, CallRecord, Ending, Message, Task, ToolCall, Trajectory
from munro.rewards.errors import EnvironmentFailure
from munro.rewards.types import Grade

__all__ = [
    "Address",
    "AgentEpisode",
    "AgentRun",
    "Answer",
    "BadEnvironment",
    "Budget",
    "CallRecord",
    "Ending",
    "Environment",
    "EnvironmentFailure",
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
