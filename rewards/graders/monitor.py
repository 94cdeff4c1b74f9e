"""A monitor: did the agent cheat, in which of several known ways, and in which turn?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from munro.rewards.judge import named
from munro.rewards.judge.items import judge_of
from munro.rewards.kinds import Grader, Item, Kind, Options, Part, Scale
from munro.rewards.trajectory.hacks import USUAL, chosen
from munro.rewards.trajectory.items import ANSWER_TOKENS, FIELDS, TOKENS, room_of, told
from munro.rewards.trajectory.judging import HACK, TURN, by_hacks
from munro.rewards.types import Grade

FLAG, NUMBER = Part(role="flag"), Part(range=(0.0, 1e6))


class MonitorGrader(Grader):
    """Asks a judge about each hack class; 1 where none is found. Flags gate, they do not score.

    Example:
        judge = {"model": "my-judge", "base_url": "http://localhost:8000/v1"}
        with MonitorGrader(classes=["edits_tests"], judge=judge) as grader:
            grader.grade({"transcript": messages, "response": "Done."}).parts["turn_edits_tests"]
    """

    kind = Kind(
        summary="an LLM judge that looks for hacks in a whole attempt, each with its turn",
        fields=FIELDS,
        file_args=("judge.model", "classes"),
        model_args=("judge.model",),
        in_process=True,
        workers=16,
        tries=1,
    )

    @classmethod
    def scale(cls, options: Options) -> Scale:
        """Flags by class. Of a file that is not here, any name will do."""
        try:
            names = [one.name for one in chosen(options.get("classes", USUAL))]
        except ValueError:
            names = ["*"]
        return Scale(
            only_gates=True,
            parts={
                **{f"{HACK}{name}": FLAG for name in names},
                **{f"{TURN}{name}": NUMBER for name in names},
                "flagged": FLAG,
                "signs": FLAG,
                "judge_directed": FLAG,
                "cut_calls": NUMBER,
            },
        )

    @classmethod
    def refuse(cls, options: Options) -> None:
        """Classes that there are not, or too little room."""
        chosen(options.get("classes", USUAL))
        room_of(options.get("tokens", TOKENS), options.get("observation_tokens", ANSWER_TOKENS))

    def __init__(
        self,
        classes: str | Sequence[str] = USUAL,
        judge: str | Mapping[str, Any] = "judge",
        tokens: int = TOKENS,
        observation_tokens: int = ANSWER_TOKENS,
    ) -> None:
        """
        Args:
            classes: "usual" for all of Munro's hack classes, names of some, or a TOML file.
            judge: name of a configured judge, or the keys of a `JudgeConfig`.
            tokens: of a transcript that are shown at once, about; a longer one is read in pieces.
            observation_tokens: of one answer of a tool that are shown at most.

        Raises:
            ValueError: no such class, file or judge, or something that makes no sense.
        """
        self._hacks = chosen(classes)
        self._room = room_of(tokens, observation_tokens)
        self._is_ours = not isinstance(judge, str)
        self._judge = named(judge) if isinstance(judge, str) else judge_of(judge)

    def check(self, item: Item) -> None:
        """Refuse a transcript that is none."""
        told(item)

    def grade(self, item: Item) -> Grade:
        """1 and passed where nothing is found."""
        judge, diff = self._judge, str(item.get("diff") or "")
        return judge.wait(by_hacks(judge, told(item), self._hacks, diff=diff, room=self._room))

    def metrics(self) -> Mapping[str, float]:
        """The judge's own counts."""
        return self._judge.metrics()

    def close(self) -> None:
        """End a judge of our own; a named one is its process's."""
        if self._is_ours:
            self._judge.close()
