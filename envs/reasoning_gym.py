"""Any data set of the package `reasoning-gym`, by name, graded by that data set's own scorer.

prompt   State the final answer to the following arithmetic problem: 4 + 3 =  (...)
reply    Four and three. <answer>7</answer>
grade    reward: the scorer's number in [0, 1]; passed: it reaches `threshold`

Scorers run in killable child processes, and some of them evaluate the text they are given: their
answers must fit a narrow grammar first (`SCREENS`), and what does not fit is wrong unread.
"""

from __future__ import annotations

import base64
import dataclasses
import functools
import json
import os
import pickle
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from munro.envs.base import SingleTurn
from munro.envs.types import Task
from munro.rewards.errors import GraderError
from munro.rewards.plugins import nearest
from munro.rewards.types import Grade
from munro.rewards.workers import Status, WorkerPool

PROMPT = "{question}\n\nPut the final answer, and nothing else, in <answer></answer> tags."
ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
LONGEST_ANSWER = 20_000
TEST_SEEDS = 2**30
SPARE_SEEDS = 2**29

FUNCTIONS = frozenset(
    ("sin", "cos", "tan", "asin", "acos", "atan", "exp", "log", "ln", "sqrt", "pi", "Abs")
)


POWER = re.compile(
    r"\*\*\s*(?:-?[0-9]{1,2}|\(\s*-?[0-9]{1,2}\s*(?:/\s*[0-9]{1,2}\s*)?\))(?![0-9.])(?!\s*\*\*)"
)


def is_list(text: str) -> bool:
    """Brackets, quotes, words and numbers: nothing that calls, and no attribute."""
    return re.fullmatch(r"[\w\s,'\"\[\]-]{0,4000}", text) is not None


def is_sum(text: str) -> bool:
    """Numbers, the four operations and parentheses; no powers."""
    return re.fullmatch(r"[0-9\s()+*/-]{1,200}", text) is not None and "**" not in text


def is_formula(text: str) -> bool:
    """Numbers, one-letter names, common functions; powers by short numbers or fractions, no towers.

    `Integral` is none of the functions: a reply that restates the question would be its own proof.
    """
    if not re.fullmatch(r"[A-Za-z0-9\s.()+*/-]{1,500}", text) or re.search(r"\.\s*[A-Za-z]", text):
        return False
    if any(len(word) > 1 and word not in FUNCTIONS for word in re.findall(r"[A-Za-z]+", text)):
        return False
    return len(POWER.findall(text)) == text.count("**")


SCREENS: Mapping[str, Callable[[str], bool]] = {
    "binary_matrix": is_list,
    "n_queens": is_list,
    "spiral_matrix": is_list,
    "string_insertion": is_list,
    "countdown": is_sum,
    "puzzle24": is_sum,
    "intermediate_integration": is_formula,
    "polynomial_multiplication": is_formula,
    "simple_integration": is_formula,
}
"""What an answer must look like where the package's scorer hands it to eval or SymPy's parser."""


BROKEN = {
    "composite": "it mixes data sets; name several environments with weights instead",
    "game_of_life_halting": "its scorer passes any text at all",
}
"""Data sets that are refused, and why."""

HASH_DEPENDENT = frozenset(
    ("isomorphic_strings", "knight_swap", "polynomial_multiplication", "ransom_note", "word_ladder")
)
"""Data sets whose problems follow the order of a Python set of strings, new in every process."""


class ReasoningGym(SingleTurn):
    """Puzzles and problems made by the package reasoning-gym, over a hundred kinds."""

    name = "reasoning_gym"

    def __init__(
        self,
        dataset: str,
        size: int = 2000,
        test_size: int = 100,
        seed: int = 0,
        threshold: float = 1.0,
        timeout_s: float = 10.0,
        prompt: str = PROMPT,
        **config: Any,
    ) -> None:
        """Choose the data set.

        Args:
            dataset: its name in the package, "chain_sum" for example.
            size: problems to train on.
            test_size: problems held out; a problem that is among them is never trained on.
            seed: of the problems; held-out ones use seeds 2 ** 30 further on.
            threshold: score from which an answer has passed.
            timeout_s: wall seconds the scorer may take for one answer.
            prompt: the question, with {question} in it.
            config: passed on to the data set ("min_terms" and so on).
        """
        from reasoning_gym.factory import DATASETS

        if dataset not in DATASETS:
            raise ValueError(
                f"reasoning-gym has no data set {dataset!r}. {nearest(dataset, DATASETS)}"
            )
        if dataset in BROKEN:
            raise ValueError(f"{dataset} of reasoning-gym cannot be used: {BROKEN[dataset]}.")
        if dataset in HASH_DEPENDENT and not os.environ.get("PYTHONHASHSEED", "").isdigit():
            raise ValueError(
                f"{dataset} of reasoning-gym makes other problems in every process unless Python's "
                "hash seed is fixed: set PYTHONHASHSEED=0 in the shell."
            )
        known = {field.name for field in dataclasses.fields(DATASETS[dataset][1])}
        for key in config:
            if key not in known:
                raise ValueError(f"{dataset} takes no {key!r}. {nearest(key, known)}")
        if size < 1 or test_size < 1:
            raise ValueError(f"size = {size}, test_size = {test_size}: give at least 1.")
        self.name = f"reasoning_gym/{dataset}"
        self._dataset, self._config = dataset, config
        self._size, self._test_size, self._seed = size, test_size, seed
        self._threshold, self._timeout_s, self._prompt = threshold, timeout_s, prompt
        _create(dataset, seed, 1, config)

    def tasks(self, split: str) -> Sequence[Task]:
        """Problems made as they are drawn."""
        test = _create(self._dataset, self._seed + TEST_SEEDS, self._test_size, self._config)
        if split == "test":
            return _Tasks(self, split, test, test, held_out=frozenset())
        train = _create(self._dataset, self._seed, self._size, self._config)
        spare = _create(self._dataset, self._seed + SPARE_SEEDS, self._size, self._config)
        held_out = frozenset(test[i]["question"] for i in range(self._test_size))
        return _Tasks(self, split, train, spare, held_out=held_out)

    def task(self, entry: Mapping[str, Any], task_id: str) -> Task:
        """One entry of the data set, as a task."""
        prompt = self._prompt.replace("{question}", entry["question"])
        packed = base64.b64encode(pickle.dumps(dict(entry))).decode()
        return Task(id=task_id, prompt=prompt, payload={"answer": entry["answer"], "entry": packed})

    def grade(self, task: Task, reply: str) -> Grade:
        """The scorer's number for the last <answer>; a reply without one is wrong.

        Raises:
            GraderError: the scorer's process could not be had.
        """
        written = ANSWER.findall(reply)
        if not written:
            return Grade(reward=0.0, passed=False, reason="no <answer>")
        answer = written[-1].strip()
        is_fit = SCREENS.get(self._dataset, bool)
        if not answer or len(answer) > LONGEST_ANSWER or not is_fit(answer):
            return Grade(reward=0.0, passed=False, reason="not a form of answer that is scored")
        outcome = _pool().run(
            f"{__name__}:score",
            self._dataset,
            json.dumps(self._config),
            task.payload["entry"],
            answer,
            timeout_s=self._timeout_s,
        )
        if outcome.status is Status.DONE:
            score = float(outcome.value)
            return Grade(reward=score, passed=score >= self._threshold, reason=f"score {score:g}")
        if outcome.status is Status.DIED:
            raise GraderError(f"the scorer of {self._dataset} {outcome.detail}")
        return Grade(reward=0.0, passed=False, reason=f"the scorer {outcome.status} on it")

    def gold_reply(self, task: Task) -> str | None:
        """The data set's own answer, integrals in it worked out; some puzzles come without one."""
        answer = task.payload["answer"]
        if answer is not None and "Integral(" in answer:
            answer = _integrated(answer)
        return None if answer is None else f"<answer>{answer}</answer>"


class _Tasks(Sequence[Task]):
    """Entries of a data set, those that are held out replaced by spare ones."""

    _TRIES = 50

    def __init__(
        self,
        environment: ReasoningGym,
        split: str,
        entries: Any,
        spare: Any,
        *,
        held_out: frozenset[str],
    ) -> None:
        self._environment, self._split = environment, split
        self._entries, self._spare, self._held_out = entries, spare, held_out

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        entry = self._entries[index]
        for n in range(self._TRIES):
            if entry["question"] not in self._held_out:
                return self._environment.task(entry, f"{self._split}-{index}")
            entry = self._spare[(index + n * 7919) % len(self._spare)]
        raise ValueError(
            f"{self._environment.name} has so few different problems that none is left to train "
            "on: lower test_size, or make the problems larger."
        )


def score(dataset: str, config: str, entry: str, answer: str) -> float:
    """Runs in a child process: the data set's own scorer on one answer.

    Args:
        dataset: name in the package.
        config: JSON of its settings.
        entry: the pickled entry, base64; made by this process's parent, never by a model.
        answer: what the model wrote.
    """
    return float(
        _scorer(dataset, config).score_answer(answer, pickle.loads(base64.b64decode(entry)))
    )


def _integrated(answer: str) -> str:
    """An answer that the data set left as an integral, worked out; the text is the package's."""
    from sympy import sympify

    return str(sympify(answer).doit())


def preload() -> None:
    """Import the package before the child is sealed."""
    import reasoning_gym
    import sympy.parsing.sympy_parser

    assert reasoning_gym
    assert sympy.parsing.sympy_parser


@functools.cache
def _scorer(dataset: str, config: str) -> Any:
    return _create(dataset, 0, 1, json.loads(config))


def _create(dataset: str, seed: int, size: int, config: Mapping[str, Any]) -> Any:
    from reasoning_gym.factory import create_dataset

    try:
        return create_dataset(dataset, seed=seed, size=size, **config)
    except (AssertionError, TypeError) as error:
        raise ValueError(f"{dataset} refuses its settings: {error}") from error


_lock = threading.Lock()
_pools: list[WorkerPool] = []


def _pool() -> WorkerPool:
    """The process's scorers, started at the first use."""
    with _lock:
        if not _pools:
            _pools.append(
                WorkerPool(size=2, timeout_s=10, memory_mb=4096, preload=[f"{__name__}:preload"])
            )
        return _pools[0]
