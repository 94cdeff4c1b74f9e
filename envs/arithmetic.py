"""Sums, differences and products, the environment for tests and for a first climb on a laptop CPU.

prompt   What is 27 + 58?
reply    7+8=15, 2+5+1=8, so it is 85.
grade    passed: the last number is 85
"""

from __future__ import annotations

import random
import re
from array import array
from collections.abc import Sequence
from hashlib import blake2b
from typing import ClassVar

from munro.envs.base import SingleTurn
from munro.envs.shuffle import shuffled
from munro.envs.types import Task
from munro.rewards.types import Grade

NUMBER = re.compile(r"(?:(?<![0-9])[-\u2212])?[0-9]+(?:,[0-9]{3})*(?:\.[0-9]+)?")
TOKENS = re.compile(r"[0-9]+|[-+*]")

LEVELS = {1: (1, 2, "+"), 2: (2, 2, "+"), 3: (2, 2, "+-"), 4: (3, 3, "+-"), 5: (3, 3, "+-*")}
"""Digits, terms and operators of each level of difficulty."""

PROMPT = "What is {problem}?"
HELD_OUT_SHARE = 10  # one problem in ten is kept for testing
MOST_LISTED = 100_000  # spaces up to this size are listed whole


def is_held_out(problem: str) -> bool:
    """Is this problem ("27+58") kept for testing? A property of the problem alone.

    Whoever makes training text leaves these out too. Spaces do not matter, and where the order of
    the numbers changes nothing (only sums, or only products) it does not matter either, so that
    58+27 cannot teach 27+58.
    """
    tokens = TOKENS.findall(problem)
    operators = set(tokens[1::2])
    if len(operators) == 1 and not operators & {"-"}:
        tokens[::2] = sorted(tokens[::2], key=lambda digits: (len(digits), digits))
    digest = blake2b("".join(tokens).encode(), digest_size=4).digest()
    return int.from_bytes(digest) % HELD_OUT_SHARE == 0


def solve(problem: str) -> int:
    """The value of a problem such as "27+58*3": products first, then from left to right."""
    total, sign, product = 0, 1, 1
    for token in TOKENS.findall(problem):
        if token.isdigit():
            product *= int(token)
        elif token in "+-":
            total += sign * product
            sign, product = (1 if token == "+" else -1), 1
    return total + sign * product


def last_number(reply: str) -> str | None:
    """The last integer written, as plain digits without leading zeros; None where there is none.

    Text is compared, not values, so that a number of a million digits costs nothing.
    """
    written = NUMBER.findall(reply)
    if not written:
        return None
    whole, _, fraction = written[-1].replace(",", "").replace("\u2212", "-").partition(".")
    if fraction.strip("0"):
        return None
    digits = whole.lstrip("-").lstrip("0") or "0"
    return f"-{digits}" if whole.startswith("-") and digits != "0" else digits


class Arithmetic(SingleTurn):
    """Sums, differences and products of integers, by level of difficulty."""

    name = "arithmetic"

    def __init__(
        self,
        level: int = 2,
        digits: int | None = None,
        min_digits: int | None = None,
        terms: int | None = None,
        operators: str | None = None,
        prompt: str = PROMPT,
        seed: int = 0,
    ) -> None:
        """Choose the problems.

        Args:
            level: 1 to 5, see `LEVELS`; what is given below replaces the level's own.
            digits: of every number, at most.
            min_digits: of every number, at least; the same as `digits` unless given.
            terms: numbers in a problem.
            operators: any of "+-*".
            prompt: the question, with {problem} in it.
            seed: of the order of the tasks.
        """
        if level not in LEVELS:
            raise ValueError(f"level = {level!r}: the levels are {', '.join(map(str, LEVELS))}.")
        default_digits, default_terms, default_operators = LEVELS[level]
        digits = default_digits if digits is None else digits
        min_digits = digits if min_digits is None else min_digits
        terms = default_terms if terms is None else terms
        operators = default_operators if operators is None else operators
        if not 1 <= min_digits <= digits:
            raise ValueError(f"digits = {digits}, min_digits = {min_digits}: give 1 <= min <= max.")
        if terms < 2:
            raise ValueError(f"terms = {terms}: a problem needs at least 2 numbers.")
        if not operators or set(operators) - set("+-*") or len(set(operators)) < len(operators):
            raise ValueError(f'operators = {operators!r}: give one or more of "+-*", each once.')
        if "{problem}" not in prompt:
            raise ValueError(f"prompt = {prompt!r}: it must hold {{problem}}.")
        self.space = ProblemSpace(min_digits, digits, terms, operators)
        self._prompt = prompt
        self._seed = seed

    def tasks(self, split: str) -> Sequence[Task]:
        """Every problem once, in an order that `seed` decides; "test" holds the held-out ones.

        Of a space of more than `MOST_LISTED` problems it is a part, drawn without repetition.
        """
        return _Tasks(self.space, split, self._prompt, self._seed)

    def grade(self, task: Task, reply: str) -> Grade:
        """Pass if the last number of the reply is the answer, exactly."""
        written = last_number(reply)
        return Grade.of(written == task.payload["answer"], reason=f"read {written or 'no number'}")

    def gold_reply(self, task: Task) -> str:
        """The bare answer."""
        return str(task.payload["answer"])


class ProblemSpace:
    """All problems of one shape, numbered from 0, none of them made before it is asked for."""

    def __init__(self, min_digits: int, digits: int, terms: int, operators: str) -> None:
        self._low = 0 if min_digits == 1 else 10 ** (min_digits - 1)
        self._numbers = 10**digits - self._low
        self._terms = terms
        self._operators = operators
        self.size: int = self._numbers**terms * len(operators) ** (terms - 1)

    def problem(self, code: int) -> str:
        """The problem with this number, e.g. "27+58"."""
        code, number = divmod(code, self._numbers)
        text = str(self._low + number)
        for _ in range(self._terms - 1):
            code, operator = divmod(code, len(self._operators))
            code, number = divmod(code, self._numbers)
            text += self._operators[operator] + str(self._low + number)
        return text


class _Tasks(Sequence[Task]):
    """The tasks of one split. Small spaces are listed and shuffled; large ones are sampled.

    Of a large space, task i is the first problem of its split in block i of the shuffled space:
    random access, no repetition, and 2 ** -52 or less that a block holds none.
    """

    _BLOCK: ClassVar = {"train": 16, "test": 352}
    _MOST: ClassVar = {"train": 2**31, "test": 2**16}

    def __init__(self, space: ProblemSpace, split: str, prompt: str, seed: int) -> None:
        if split not in self._BLOCK:
            raise ValueError(f"split = {split!r}: arithmetic has 'train' and 'test'.")
        self._space, self._split, self._prompt = space, split, prompt
        self._key = f"arithmetic/{seed}"
        self._codes: array[int] | None = None
        if space.size <= MOST_LISTED:
            codes = [code for code in range(space.size) if self._is_ours(space.problem(code))]
            random.Random(f"{self._key}/{split}").shuffle(codes)
            self._codes = array("L", codes)

    def _is_ours(self, problem: str) -> bool:
        return is_held_out(problem) == (self._split == "test")

    def __len__(self) -> int:
        if self._codes is not None:
            return len(self._codes)
        return min(self._space.size // self._BLOCK[self._split], self._MOST[self._split])

    def _problem(self, index: int) -> str:
        if self._codes is not None:
            return self._space.problem(self._codes[index])
        block = self._BLOCK[self._split]
        for place in range(index * block, (index + 1) * block):
            problem = self._space.problem(shuffled(place, self._space.size, self._key))
            if self._is_ours(problem):
                return problem
        raise LookupError(f"no {self._split} problem in block {index} of {self._key}")

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        problem = self._problem(index % len(self))
        spaced = re.sub(r"([-+*])", r" \1 ", problem)
        return Task(
            id=problem,
            prompt=self._prompt.replace("{problem}", spaced),
            payload={"answer": str(solve(problem))},
        )
