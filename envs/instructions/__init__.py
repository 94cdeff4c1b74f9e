"""Instructions that a program checks: sampled, with a reply known to follow them, or from a file.

level 1   Say moss 3 times.                          moss moss moss
level 2   Tell me about rivers. Refrain from ...     one to two instructions of IFEval's kind
level 3                                              three to five of them

Level 1 is for models that know a few characters and words; the others for models that can write.
With `path` the tasks are the rows of a file, in the form of IFEval and IFBench.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from munro.envs.base import SingleTurn
from munro.envs.data.rows import place_of
from munro.envs.instructions.gold import TOPICS, WORDS, Draft, draw
from munro.envs.instructions.rows import Files
from munro.envs.types import Task
from munro.rewards.instructions import checkers
from munro.rewards.instructions.graded import check_options, graded
from munro.rewards.types import Grade

LEVELS = {1: (1, 1), 2: (1, 2), 3: (3, 5)}
"""Fewest and most instructions of each level."""
TIMES = range(2, 6)
HELD_OUT = 2**32 // 10
"""One task in ten is held out, by its text alone."""
JUNK = "I do not know."
MOST_DRAWS = 1000


class Instructions(SingleTurn):
    """Verifiable instructions: numbers, format, content, language, order, and what to leave out."""

    name = "instructions"
    file_args: ClassVar[tuple[str, ...]] = ("path", "test_path")

    def __init__(
        self,
        level: int = 2,
        size: int = 10_000,
        score: str = "all",
        mode: str = "strict",
        seed: int = 0,
        path: str = "",
        subset: str = "",
        split: str = "train",
        test_path: str = "",
        test_split: str = "",
        test_share: float = 0.1,
    ) -> None:
        """
        Args:
            level: 1 (a word or two, for the smallest models), 2 or 3.
            size: tasks to train on; level 1 has as many as there are.
            score: pay only "all" followed, or the "share" that is.
            mode: "strict", or "loose" as IFEval has it.
            seed: of what is sampled.
            path: a .jsonl, .csv or .parquet file, or a data set on the hub, whose rows are the
                tasks; nothing is sampled then.
            subset: of a data set on the hub.
            split: of a data set on the hub, to train on.
            test_path: a file of held-out rows, such as IFBench's; without `path` the tasks to
                train on are sampled.
            test_split: of a data set on the hub, held out.
            test_share: where neither is given, this share of the file's prompts is held out.
        """
        check_options(score, mode)
        if level not in LEVELS:
            raise ValueError(f"level = {level}: the levels are {', '.join(map(str, LEVELS))}.")
        if size < 1:
            raise ValueError(f"size = {size}: must be at least 1.")
        self._level, self._size, self._score, self._seed = level, size, score, seed
        self._mode = mode
        self._files = Files(
            path=path,
            subset=subset,
            split=split,
            test_path=test_path,
            test_split=test_split,
            test_share=test_share,
        ).sides()

    def tasks(self, split: str) -> Sequence[Task]:
        """Rows of a file; or all of level 1; of the others, each made when it is drawn."""
        if split in self._files:
            return self._files[split]
        if self._level == 1:
            return [task for task in _tiny() if _is_held_out(task) == (split == "test")]
        return _Sampled(self._level, self._size, f"{self._seed}/{split}", split == "test")

    def grade(self, task: Task, reply: str) -> Grade:
        """Passed if all instructions are followed; `parts` has each."""
        wanted = checkers(task.payload["instructions"])
        return graded(wanted, reply, score=self._score, mode=self._mode)

    def gold_reply(self, task: Task) -> str | None:
        """What was made to follow them; of a file's rows nobody knows one."""
        gold = task.payload.get("gold")
        return None if gold is None else str(gold)


class _Sampled(Sequence[Task]):
    """Tasks by place, each a function of the place and the seed."""

    def __init__(self, level: int, size: int, seed: str, held_out: bool) -> None:
        self._level, self._size, self._seed, self._held_out = level, size, seed, held_out

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not 0 <= index < self._size:
            raise IndexError(index)
        rng = random.Random(f"{self._seed}/{self._level}/{index}")
        fewest, most = LEVELS[self._level]
        for _ in range(MOST_DRAWS):
            topic = rng.choice(TOPICS)
            draft = draw(rng, topic, rng.randint(fewest, most))
            task = _task(f"{index}", f"Tell me about {topic}.", draft)
            if _is_sound(draft) and _is_held_out(task) == self._held_out:
                return task
        raise RuntimeError(f"no task was found in {MOST_DRAWS} draws")


def _task(number: str, request: str, draft: Draft) -> Task:
    said = " ".join([request, *(each.sentence() for each in checkers(draft.instructions))])
    return _made(number, said.strip(), draft.instructions, draft.text)


def _made(number: str, prompt: str, specs: Sequence[Mapping[str, Any]], gold: str) -> Task:
    payload = {"instructions": list(specs), "gold": gold}
    return Task(id=number, prompt=prompt, payload=payload)


def _is_sound(draft: Draft) -> bool:
    """The gold reply follows everything, and a reply that is none does not."""
    wanted = checkers(draft.instructions)
    followed = all(each.follows(draft.text) for each in wanted)
    return followed and not all(each.follows(JUNK) for each in wanted)


def _is_held_out(task: Task) -> bool:
    return place_of(task.messages[0].content) < HELD_OUT


def _tiny() -> Iterator[Task]:
    """The whole of level 1: four kinds of task over some short words."""
    for word in WORDS:
        for times in TIMES:
            repeat = {"id": "sequence:repeat", "kwargs": {"phrase": word, "times": times}}
            gold = " ".join([word] * times)
            yield _made(f"say/{word}/{times}", f"Say {word} {times} times.", [repeat], gold)
        has = {"id": "keywords:existence", "kwargs": {"keywords": [word]}}
        short = {"id": "length_constraints:number_words", "kwargs": _bound("num_words", 1)}
        upper: list[dict[str, Any]] = [{"id": "change_case:english_capital"}, has, short]
        yield _made(f"capitals/{word}", f"Say {word} in capitals.", upper, word.upper())
        end = {"id": "startend:end_checker", "kwargs": {"end_phrase": word}}
        two = {"id": "length_constraints:number_words", "kwargs": _bound("num_words", 2)}
        yield _made(f"end/{word}", f"Say two words, the last {word}.", [end, two], f"the {word}")
        quoted: list[dict[str, Any]] = [{"id": "startend:quotation"}, has, short]
        yield _made(f"quote/{word}", f"Say {word} in double quotes.", quoted, f'"{word}"')


def _bound(name: str, number: int) -> dict[str, Any]:
    return {name: number, "relation": "exactly"}
