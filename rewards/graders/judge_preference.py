"""A judge who compares: each response of a group beside others to the same prompt."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from munro.rewards.judge import named
from munro.rewards.judge.conversation import Question
from munro.rewards.judge.fence import addresses_judge
from munro.rewards.judge.items import MESSAGES, judge_of, question_of
from munro.rewards.kinds import Field, Grader, Item, Kind, Part, Scale
from munro.rewards.types import Grade


class JudgePreferenceGrader(Grader):
    """How a response stands beside others to the same prompt, by a judge who compares them.

    A group larger than `size` is parted at random into heats of about that many, `rounds` times,
    and a response's reward is its mean score. Report, section 3.4.1, has a reward model for this.

    Example:
        with JudgePreferenceGrader(judge={"model": "m", "base_url": "http://host/v1"}) as grader:
            grader.grade_group([{"prompt": "Hi!", "response": text} for text in texts])
    """

    kind = Kind(
        summary="an LLM judge that compares a response with others",
        fields={
            "question": Field(what="what was asked; or prompt", is_required=False),
            "messages": MESSAGES,
            "others": Field(
                what="responses to compare with; graded as a group without",
                types=(list,),
                is_required=False,
            ),
        },
        scale=Scale(parts={"judge_directed": Part()}),
        file_args=("judge.model",),
        model_args=("judge.model",),
        in_process=True,
        tries=1,
    )

    def __init__(
        self, judge: str | Mapping[str, Any] = "judge", size: int = 4, rounds: int = 1
    ) -> None:
        """
        Args:
            judge: name of a configured judge, or the keys of a `JudgeConfig`.
            size: most responses shown at once, at least 2.
            rounds: times that a group is parted anew, where it has to be.

        Raises:
            ValueError: no such judge, or a number that makes no sense.
        """
        if size < 2 or rounds < 1:
            raise ValueError(f"size = {size}, rounds = {rounds}: give at least 2 and 1.")
        self._size, self._rounds = size, rounds
        self._is_ours = not isinstance(judge, str)
        self._judge = named(judge) if isinstance(judge, str) else judge_of(judge)

    def check(self, item: Item) -> None:
        """Refuse messages that are none."""
        question_of(item)

    def grade(self, item: Item) -> Grade:
        """The response's grade among the item's `others`."""
        others = [{**item, "response": other} for other in item.get("others", ())]
        return self.grade_group([item, *others])[0]

    def grade_group(self, items: Sequence[Item]) -> list[Grade]:
        """The grades of several responses to one prompt, among each other."""
        texts = [str(item["response"]) for item in items]
        scores = self._judge.wait(self._scores(question_of(items[0]), texts))
        return [
            Grade(reward=score, parts={"judge_directed": float(addresses_judge(text))})
            for score, text in zip(scores, texts, strict=True)
        ]

    def as_shown(self, context: str, candidates: Sequence[str]) -> list[float]:
        """Scores from one look at the candidates in their order: what a place is worth shows."""
        return self._judge.wait(self._judge.prefer_as_shown(context, candidates))

    async def _scores(self, context: Question, texts: Sequence[str]) -> list[float]:
        chosen = random.Random(f"{self._judge.config.seed} {len(texts)} {context}")
        heats = [
            heat
            for _ in range(self._rounds if len(texts) > self._size else 1)
            for heat in _heats(len(texts), self._size, chosen)
        ]
        scores = await asyncio.gather(
            *(self._judge.prefer(context, [texts[row] for row in heat]) for heat in heats)
        )
        of_row: dict[int, list[float]] = {row: [] for row in range(len(texts))}
        for heat, found in zip(heats, scores, strict=True):
            for row, score in zip(heat, found, strict=True):
                of_row[row].append(score)
        return [fmean(of_row[row]) for row in range(len(texts))]

    def metrics(self) -> Mapping[str, float]:
        """The judge's own counts."""
        return self._judge.metrics()

    def close(self) -> None:
        """End a judge of our own; a named one is its process's."""
        if self._is_ours:
            self._judge.close()


def _heats(total: int, size: int, chosen: random.Random) -> list[list[int]]:
    """Numbers below `total` in random heats of equal size, or one less."""
    rows = list(range(total))
    chosen.shuffle(rows)
    count = -(-total // size)
    return [rows[first::count] for first in range(count)]
