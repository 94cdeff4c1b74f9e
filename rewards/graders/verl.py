"""verl: a `compute_score(data_source, solution_str, ground_truth, extra_info)`, by its path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from munro.rewards.errors import GraderError
from munro.rewards.functions import RewardFunction
from munro.rewards.kinds import Field, Grader, Item, Kind, Part, Scale
from munro.rewards.types import Grade


class VerlGrader(Grader):
    """A custom reward function of verl's, by its path; a dict's numbers beside "score" are parts.

    Example:
        VerlGrader(function="my_reward.py:compute_score")
    """

    kind = Kind(
        summary="a reward function written for verl: compute_score(data_source, solution_str, ...)",
        fields={
            "data_source": Field(what="where the row is from", is_required=False),
            "ground_truth": Field(
                what="the reference; else what reward_model.ground_truth holds",
                types=(str, int, float, bool, list, dict),
                is_required=False,
            ),
            "reward_model": Field(what="verl's column", types=(dict,), is_required=False),
            "extra_info": Field(what="verl's column", types=(dict,), is_required=False),
        },
        scale=Scale(parts={"*": Part(range=(-1e308, 1e308))}),
        file_args=("function",),
        in_process=True,
        tries=1,
    )

    def __init__(
        self,
        function: str,
        kwargs: Mapping[str, Any] | None = None,
        env: Sequence[str] = (),
        workers: int = 2,
        timeout_s: float = 60.0,
        memory_mb: int = 8192,
    ) -> None:
        """
        Args:
            function: "my_reward.py:compute_score" or "package.module:compute_score"; sync or async.
            kwargs: passed on to it with every call, as verl's `reward_kwargs`.
            env: names of environment variables that it may read.
            workers: calls at the same moment.
            timeout_s: wall seconds of one.
            memory_mb: of a process, MiB; 0 for no bound.

        Raises:
            ValueError: the function cannot be had, or is no such function.
        """
        self._kwargs = dict(kwargs or {})
        self._function = RewardFunction(
            function,
            needs=("data_source", "solution_str", "ground_truth", *self._kwargs),
            env=env,
            workers=workers,
            timeout_s=timeout_s,
            memory_mb=memory_mb,
        )

    def check(self, item: Item) -> None:
        """Refuse an item without a reference."""
        _ground_truth(item)

    def grade(self, item: Item) -> Grade:
        """Call it; a dict is paid by its "score"."""
        given = {
            "data_source": item.get("data_source", ""),
            "solution_str": item["response"],
            "ground_truth": _ground_truth(item),
            **self._kwargs,
        }
        if self._function.accepts("extra_info"):
            given["extra_info"] = item.get("extra_info", {})
        returned = self._function.call(given)
        if returned is None:
            raise GraderError("the reward function returned None: the attempt is unscored")
        if not isinstance(returned, dict):
            return Grade.of(self._function.number(returned))
        if "score" not in returned:
            raise GraderError("the reward function returned a dict without a 'score'")
        reward = self._function.number(returned["score"], "the score ")
        parts = {
            name: self._function.number(value, f"{name} ")
            for name, value in returned.items()
            if name != "score" and isinstance(value, bool | int | float)
        }
        return Grade(reward=reward, parts=parts)

    def close(self) -> None:
        """End its processes."""
        self._function.close()


def _ground_truth(item: Item) -> Any:
    if "ground_truth" in item:
        return item["ground_truth"]
    theirs = item.get("reward_model")
    if isinstance(theirs, Mapping) and "ground_truth" in theirs:
        return theirs["ground_truth"]
    raise ValueError(
        "'ground_truth' is missing: give the task a column ground_truth, or verl's reward_model, "
        'or name it: fields = { ground_truth = "answer" }'
    )
