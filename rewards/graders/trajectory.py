"""A judge of a whole attempt: sub-tasks of a rubric, graded one by one over the transcript."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from munro.rewards.judge import named
from munro.rewards.judge.items import judge_of
from munro.rewards.kinds import Field, Grader, Item, Kind, Options, Part, Scale
from munro.rewards.trajectory.items import ANSWER_TOKENS, FIELDS, TOKENS, room_of, told
from munro.rewards.trajectory.judging import Pays, by_subtasks
from munro.rewards.trajectory.subtasks import filled, subtasks_of
from munro.rewards.types import Grade


class TrajectoryGrader(Grader):
    """Asks a judge about each criterion of each sub-task, with the transcript before it.

    Example:
        judge = {"model": "my-judge", "base_url": "http://localhost:8000/v1"}
        with TrajectoryGrader(subtasks={"looks": "Looks at it first."}, judge=judge) as grader:
            grader.grade({"transcript": messages, "response": "Done."}).parts["subtask_looks"]
    """

    kind = Kind(
        summary="an LLM judge of a whole attempt: a rubric's sub-tasks, one by one",
        fields={
            **FIELDS,
            "subtasks": Field(
                what="instead of the option's", types=(dict, list, str), is_required=False
            ),
        },
        scale=Scale(
            parts={
                "subtask_*": Part(),
                "judge_directed": Part(),
                "cut_calls": Part(range=(0.0, 1e6)),
            }
        ),
        file_args=("judge.model",),
        model_args=("judge.model",),
        in_process=True,
        workers=16,
        tries=1,
    )

    @classmethod
    def refuse(cls, options: Options) -> None:
        """A rubric without sub-tasks, a score that there is not, or too little room."""
        if options.get("subtasks"):
            subtasks_of(options["subtasks"])
        if options.get("score", "share") not in get_args(Pays):
            raise ValueError(f"score = {options['score']!r}: give 'all' or 'share'.")
        room_of(options.get("tokens", TOKENS), options.get("observation_tokens", ANSWER_TOKENS))

    def __init__(
        self,
        subtasks: Mapping[str, str | Sequence[str]] | Sequence[str] | str = (),
        judge: str | Mapping[str, Any] = "judge",
        score: Pays = "share",
        tokens: int = TOKENS,
        observation_tokens: int = ANSWER_TOKENS,
    ) -> None:
        """
        Args:
            subtasks: the rubric: sentences, or lists of them, by name; a list of sentences; or a
                text with a line for each. An item may bring its own.
            judge: name of a configured judge, or the keys of a `JudgeConfig`.
            score: pay the "share" of criteria met, or only "all" sub-tasks.
            tokens: of a transcript that are shown, about; its diff takes a quarter of them.
            observation_tokens: of one answer of a tool that are shown at most.

        Raises:
            ValueError: no such judge, or something that makes no sense.
        """
        self.refuse({"score": score})
        self._subtasks = subtasks_of(subtasks) if subtasks else None
        self._pays: Pays = score
        self._room = room_of(tokens, observation_tokens)
        self._is_ours = not isinstance(judge, str)
        self._judge = named(judge) if isinstance(judge, str) else judge_of(judge)

    def check(self, item: Item) -> None:
        """Refuse an item without a rubric, or whose transcript is none."""
        told(item)
        self._wanted(item)

    def grade(self, item: Item) -> Grade:
        """The judge's grade of one attempt."""
        judge = self._judge
        return judge.wait(
            by_subtasks(
                judge,
                told(item),
                self._wanted(item),
                diff=str(item.get("diff") or ""),
                room=self._room,
                pays=self._pays,
            )
        )

    def _wanted(self, item: Item) -> dict[str, list[str]]:
        subtasks = self._subtasks
        if "subtasks" in item:
            subtasks = subtasks_of(item["subtasks"])
        if subtasks is None:
            raise ValueError("'subtasks' is missing: give them as an option, or to each item")
        return filled(subtasks, item)

    def metrics(self) -> Mapping[str, float]:
        """The judge's own counts."""
        return self._judge.metrics()

    def close(self) -> None:
        """End a judge of our own; a named one is its process's."""
        if self._is_ours:
            self._judge.close()
