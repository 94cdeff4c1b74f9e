"""TRL: a reward function as its trainers call it, `reward(prompts, completions, **columns)`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from munro.rewards.errors import GraderError
from munro.rewards.functions import RewardFunction
from munro.rewards.kinds import Grader, Item, Kind
from munro.rewards.types import Grade

OURS = ("response", "messages", "prompt", "num_tokens", "task_id")
"""Fields of an item that are no columns of the row."""
NOT_HAD = ("completion_ids", "trainer_state", "environments")
"""What TRL passes and we do not have: None, unless the function does without."""
UNHEARD = ("log_extra", "log_metric")
"""Functions that TRL passes, to log with: what they are told goes nowhere."""


class TrlGrader(Grader):
    """A reward function of TRL's, by its path. The columns of the row come as lists of one.

    Example:
        TrlGrader(function="rewards.py:accuracy", format="text")
    """

    kind = Kind(
        summary="a reward function written for TRL: reward(prompts, completions, **columns)",
        file_args=("function",),
        in_process=True,
        tries=1,
    )

    def __init__(
        self,
        function: str,
        format: Literal["messages", "text"] = "messages",
        env: Sequence[str] = (),
        workers: int = 2,
        timeout_s: float = 60.0,
        memory_mb: int = 8192,
    ) -> None:
        """
        Args:
            function: "rewards.py:accuracy" or "package.module:accuracy"; sync or async.
            format: what it is written for: conversations ([{role, content}], as TRL gives where
                prompts are conversations), or plain texts.
            env: names of environment variables that it may read.
            workers: calls at the same moment.
            timeout_s: wall seconds of one.
            memory_mb: of a process, MiB; 0 for no bound.

        Raises:
            ValueError: the function cannot be had, or is no such function.
        """
        if format not in ("messages", "text"):
            raise ValueError(f"format = {format!r}: write 'messages' or 'text'.")
        self._format = format
        self._function = RewardFunction(
            function,
            needs=("completions",),
            env=env,
            workers=workers,
            timeout_s=timeout_s,
            memory_mb=memory_mb,
        )

    def grade(self, item: Item) -> Grade:
        """Call it with a batch of one; None leaves the attempt unscored."""
        unheard = [name for name in UNHEARD if name in self._function.takes]
        returned = self._function.call(self._given(item), unheard)
        if not isinstance(returned, list):
            returned = [returned] if returned is None else returned
        if not isinstance(returned, list):
            raise GraderError(f"the reward function returned {returned!r:.60}: a list is wanted")
        if len(returned) != 1:
            raise GraderError(f"the reward function returned {len(returned)} rewards for 1 attempt")
        if returned[0] is None:
            raise GraderError("the reward function returned None: the attempt is unscored")
        return Grade.of(self._function.number(returned[0]))

    def close(self) -> None:
        """End its processes."""
        self._function.close()

    def _given(self, item: Item) -> dict[str, Any]:
        prompt: Any = item.get("prompt", "")
        completion: Any = item["response"]
        if self._format == "messages":
            prompt = item.get("messages") or [{"role": "user", "content": prompt}]
            completion = [{"role": "assistant", "content": completion}]
        columns = {name: [value] for name, value in item.items() if name not in OURS}
        given = {
            **columns,
            "prompts": [prompt],
            "completions": [completion],
            **{name: None for name in NOT_HAD if name in self._function.takes},
        }
        return {name: value for name, value in given.items() if self._function.accepts(name)}
