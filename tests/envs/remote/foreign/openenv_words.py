"""What somebody writes over the environment that `openenv init word_env` makes: a word, to be sent
back to front. Run by the interpreter that holds OpenEnv, never by ours.
"""

from __future__ import annotations

import sys
from typing import Any

from models import WordAction, WordObservation
from openenv.core.env_server.interfaces import Environment
from openenv.core.env_server.types import State

WORDS = ("munro", "cairn", "belay", "scree", "tarn", "corrie", "bothy", "ridge")


class WordEnvironment(Environment):
    """One step, paid when it is right."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self) -> None:
        self._word = ""
        self._steps = 0

    def reset(
        self, seed: int | None = None, episode_id: str | None = None, **kwargs: Any
    ) -> WordObservation:
        self._word = WORDS[(seed or 0) % len(WORDS)]
        sys.stdout.write("a server that prints\n")
        told = f"Send {self._word!r} back to front."
        return WordObservation(echoed_message=told, message_length=len(told))

    def step(self, action: WordAction) -> WordObservation:
        self._steps += 1
        if action.message == "crash":
            raise OSError("the environment is broken")
        right = action.message == self._word[::-1]
        return WordObservation(
            echoed_message="right" if right else "wrong",
            message_length=len(action.message),
            done=True,
            reward=float(right),
        )

    @property
    def state(self) -> State:
        return State(step_count=self._steps)
