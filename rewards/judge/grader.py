"""A judge as one of the named graders (`munro.rewards.kinds`): an item in, one kind of judgement
out.

    equivalence, honesty   item: answer (the reference), question
    scale                  item: question, guide
    rubric                 item: question, criteria, and any field that the criteria name
    policy                 item: question (the request), rules, target, severity

`guide`, `criteria`, `rules` and `target` may be given once, as options, and by each item anew; for
`question`, an item's `prompt` will do. `JudgePreferenceGrader` compares the responses of a group.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, Literal, get_args

from pydantic import ValidationError

from munro.rewards.judge import Judge, JudgeConfig, named, rubric
from munro.rewards.judge.fence import addresses_judge
from munro.rewards.judge.verdicts import Engagement
from munro.rewards.kinds import Grader, Item
from munro.rewards.types import Grade

Ask = Literal["equivalence", "scale", "rubric", "honesty", "policy"]


class JudgeGrader(Grader):
    """Asks a judge one kind of question. Blocks; as many threads as the judge's `concurrency` help.

    Example:
        config = {"model": "my-judge", "base_url": "http://localhost:8000/v1"}
        with JudgeGrader(ask="equivalence", judge=config) as grader:
            grader.grade({"question": "How far?", "answer": "5 km", "response": "5000 m"})
    """

    def __init__(
        self,
        ask: Ask = "equivalence",
        judge: str | Mapping[str, Any] = "judge",
        guide: str = "",
        criteria: Sequence[str] = (),
        rules: str = "",
        target: str = "do-not-refuse",
    ) -> None:
        """
        Args:
            ask: the kind of judgement.
            judge: name of a configured judge, or the keys of a `JudgeConfig`.
            guide: standard of "scale".
            criteria: rubric of "rubric".
            rules: policy of "policy".
            target: engagement that "policy" wants, unless an item says otherwise.

        Raises:
            ValueError: no such kind or judge, or what it needs is unusable.
        """
        if ask not in get_args(Ask):
            raise ValueError(f"ask = {ask!r}: there are {', '.join(get_args(Ask))}.")
        if criteria:
            rubric.check(criteria)
        Engagement(target)
        self._ask = ask
        self._given = {"guide": guide, "criteria": criteria, "rules": rules, "target": target}
        self._is_ours = not isinstance(judge, str)
        self._judge = named(judge) if isinstance(judge, str) else _judge_of(judge)

    def grade(self, item: Item) -> Grade:
        """The judge's grade of one item."""
        given = {**self._given, **item}
        judge, response = self._judge, str(item["response"])
        question = _question(given)
        if self._ask == "equivalence":
            return judge.wait(judge.equivalence(question, _need(given, "answer"), response))
        if self._ask == "honesty":
            return judge.wait(judge.honesty(question, _need(given, "answer"), response))
        if self._ask == "scale":
            return judge.wait(judge.scale(question, response, guide=str(given["guide"])))
        if self._ask == "rubric":
            return judge.wait(judge.rubric(question, response, given["criteria"], given))
        return judge.wait(
            judge.policy(
                question,
                response,
                _need(given, "rules"),
                target=str(given["target"]),
                severity=given.get("severity"),
            )
        )

    def close(self) -> None:
        """End a judge of our own; a named one is its process's."""
        if self._is_ours:
            self._judge.close()


class JudgePreferenceGrader(Grader):
    """How a response stands beside others to the same prompt, by a judge who compares them.

    A group larger than `size` is parted at random into heats of about that many, `rounds` times,
    and a response's reward is its mean score. Report, section 3.4.1, has a reward model for this.

    Example:
        with JudgePreferenceGrader(judge={"model": "m", "base_url": "http://host/v1"}) as grader:
            grader.grade_group([{"prompt": "Hi!", "response": text} for text in texts])
    """

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
        self._judge = named(judge) if isinstance(judge, str) else _judge_of(judge)

    def grade(self, item: Item) -> Grade:
        """The response's grade among the item's `others`."""
        others = [{**item, "response": other} for other in item.get("others", ())]
        return self.grade_group([item, *others])[0]

    def grade_group(self, items: Sequence[Item]) -> list[Grade]:
        """The grades of several responses to one prompt, among each other."""
        texts = [str(item["response"]) for item in items]
        scores = self._judge.wait(self._scores(_question(items[0]), texts))
        return [
            Grade(reward=score, parts={"judge_directed": float(addresses_judge(text))})
            for score, text in zip(scores, texts, strict=True)
        ]

    async def _scores(self, context: str, texts: Sequence[str]) -> list[float]:
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


def _question(item: Item) -> str:
    return str(item.get("question") or item.get("prompt") or "")


def _judge_of(keys: Mapping[str, Any]) -> Judge:
    try:
        return Judge(JudgeConfig.model_validate(dict(keys)))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(["judge", *map(str, first["loc"])])
        raise ValueError(f"{where}: {first['msg']}") from None


def _need(given: Mapping[str, Any], name: str) -> str:
    text = str(given.get(name, ""))
    if not text.strip():
        raise ValueError(f"{name!r} is missing: the judge has nothing to go by")
    return text
