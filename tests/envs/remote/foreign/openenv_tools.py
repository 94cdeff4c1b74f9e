"""An OpenEnv server whose actions are calls of tools: the app of a folder that `openenv init` made.
Run by the interpreter that holds OpenEnv, never by ours.
"""

from __future__ import annotations

from typing import Any

from fastmcp import FastMCP
from openenv.core.env_server.http_server import create_app
from openenv.core.env_server.mcp_environment import MCPEnvironment
from openenv.core.env_server.mcp_types import CallToolAction, CallToolObservation
from openenv.core.env_server.types import Observation, State

CODE = "4711"


class Safe(MCPEnvironment):
    """A note says the code; the safe opens with it."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self) -> None:
        server = FastMCP("safe")
        self._is_open = False

        @server.tool
        def read_note() -> str:
            """The note that lies on the safe."""
            return f"the code is {CODE}"

        @server.tool
        def open_safe(code: str) -> str:
            """Open the safe."""
            if code != CODE:
                raise ValueError("that is not the code")
            self._is_open = True
            return "it is open"

        super().__init__(server)

    def reset(
        self, seed: int | None = None, episode_id: str | None = None, **kwargs: Any
    ) -> Observation:
        self._is_open = False
        return Observation(metadata={})

    def _step_impl(self, action: Any, timeout_s: float | None = None, **kwargs: Any) -> Observation:
        raise NotImplementedError

    async def step_async(
        self, action: Any, timeout_s: float | None = None, **kwargs: Any
    ) -> Observation:
        seen = await super().step_async(action, timeout_s=timeout_s, **kwargs)
        seen.reward, seen.done = float(self._is_open), self._is_open
        return seen

    @property
    def state(self) -> State:
        return State()


app = create_app(Safe, CallToolAction, CallToolObservation, env_name="safe", max_concurrent_envs=8)
