"""A user's own environment in a process of its own: `isolate = true`.

    [[env]]
    path = "my_env.py"
    isolate = true

What it does there costs no more than the attempts that it has open: it may crash, leak, print,
quit or hang. Its tasks must be such as JSON can say, for that is how they cross.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from munro.envs.remote import MAIN, SIDES, interpreter
from munro.envs.remote.elsewhere import Elsewhere
from munro.envs.remote.pool import SideSpec
from munro.envs.remote.wire import BadAnswer, of
from munro.envs.types import Task
from munro.rewards.errors import EnvironmentFailure


class Isolated(Elsewhere):
    """Any environment, elsewhere."""

    sends_tokens = True

    def __init__(
        self, path: str, args: Mapping[str, Any], *, python: str = "", memory_mb: int = 0
    ) -> None:
        """
        Args:
            path: as for `munro.envs.load`.
            args: of its constructor.
            python: its interpreter; this one unless given.
            memory_mb: MiB that its process may hold with all that it starts; 0 for no bound.

        Raises:
            ValueError: it cannot be loaded there; one sentence.
        """
        ours = sys.path if not python else [str(_home())]
        spec = SideSpec(
            name=path,
            command=(
                interpreter(python or sys.executable),
                *("-u", "-B", str(MAIN), str(SIDES / "isolated.py")),
            ),
            args={"path": path, "args": dict(args)},
            memory_mb=memory_mb,
            env={"PYTHONPATH": os.pathsep.join(entry for entry in ours if entry)},
        )
        super().__init__(spec, 1)
        more = self.hello.more
        try:
            self._files = [of(one, str, "a file") for one in of(more.get("files"), list, "files")]
            self._box_mb = int(of(more.get("box_mb"), int, "box_mb"))
            self.needs_graders = bool(of(more.get("needs_graders"), bool, "needs_graders"))
        except BadAnswer as wrong:
            raise ValueError(f"{path}: {wrong}") from wrong

    def files_of_args(self) -> Sequence[str]:
        """Which of its arguments name files."""
        return self._files

    @property
    def box_mb(self) -> int:
        """Its own."""
        return self._box_mb

    def careless_reply(self, task: Task, draw: float) -> str | None:
        """Its own."""
        reply = self.said_at_once("careless", task, draw=draw).get("reply")
        if not isinstance(reply, str | None):
            raise EnvironmentFailure(f"{self.name}: the careless reply is {reply!r:.60}")
        return reply


def _home() -> Path:
    """The folder that has to be on the path of another interpreter for it to have `munro`."""
    import munro

    assert munro.__file__ is not None
    return Path(munro.__file__).resolve().parents[1]
