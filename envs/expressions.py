"""Write the Python expression behind a few values: a code task that a very small model can learn.

prompt   f(2)=7, f(5)=10. Write f(x) in Python.
reply    x+5
grade    passed: in the sandbox it has the right values, also at points that were not shown

The reply is code that runs, not text that is compared: `x+5`, `5+x` and `-(-5-x)` all pass, a table
of the values shown does not.
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import combinations, product
from math import prod

from munro.envs.base import SingleTurn
from munro.envs.types import Task
from munro.rewards import code
from munro.rewards.types import Grade

PROMPT = "{examples}. Write f({arguments}) in Python."
HELD_OUT_SHARE = 10  # one problem in ten is kept for testing

PROGRAM = """\
def f({arguments}):
    return (
{expression}
    )


def values(points):
    return [f(*point) for point in points]
"""

Point = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """Sums of the same terms with different factors, and the points where they are looked at."""

    powers: tuple[Point, ...]
    """Of each argument in each term: ((2,), (1,), (0,)) is x*x, x and 1."""
    factors: tuple[Point, ...]
    """Of each function, one for each term."""
    shown: tuple[tuple[Point, ...], ...]
    """Sets of points whose values a problem shows; each is enough to tell the functions apart."""
    hidden: tuple[Point, ...]
    """Points at which a reply is tried as well."""
    arguments: tuple[str, ...] = ("x",)

    def text(self, factors: Point) -> str:
        """A function as Python writes it: "3*x*x-2"."""
        text = ""
        for factor, powers in zip(factors, self.powers, strict=True):
            names = [name for name, n in zip(self.arguments, powers, strict=True) for _ in range(n)]
            if abs(factor) != 1 or not names:
                names.insert(0, str(abs(factor)))
            if factor:
                text += ("-" if factor < 0 else "+") + "*".join(names)
        return text.removeprefix("+") or "0"

    def value(self, factors: Point, point: Point) -> int:
        """The value of a function at a point."""
        return sum(
            factor * prod(x**n for x, n in zip(point, powers, strict=True))
            for factor, powers in zip(factors, self.powers, strict=True)
        )


def _on_a_line(points: tuple[Point, ...]) -> bool:
    (x, y), (x1, y1), (x2, y2) = points
    return (x1 - x) * (y2 - y) == (x2 - x) * (y1 - y)


DIGITS = tuple((x,) for x in range(10))
NEAR = tuple((x,) for x in range(-5, 15))
BUMPS = tuple(b for b in range(-9, 10) if b)
CORNERS = tuple(combinations(product(range(4), repeat=2), 3))

LEVELS = {
    1: Level(
        powers=((1,), (0,)),
        factors=(*((1, b) for b in BUMPS), *((a, 0) for a in range(2, 10))),
        shown=tuple(combinations(DIGITS, 2)),
        hidden=NEAR,
    ),
    2: Level(
        powers=((1,), (0,)),
        factors=tuple(product(range(2, 10), BUMPS)),
        shown=tuple(combinations(DIGITS, 2)),
        hidden=NEAR,
    ),
    3: Level(
        powers=((2,), (1,), (0,)),
        factors=tuple(product(range(1, 4), range(6), range(10))),
        shown=tuple(combinations(DIGITS, 3)),
        hidden=NEAR,
    ),
    4: Level(
        powers=((1, 0), (0, 1), (0, 0)),
        factors=tuple(product(range(1, 6), range(1, 6), range(10))),
        shown=tuple(points for points in CORNERS if not _on_a_line(points)),
        hidden=tuple(product(range(-4, 7, 2), repeat=2)),
        arguments=("x", "y"),
    ),
}
"""By difficulty: x+b and a*x; a*x+b; a*x*x+b*x+c; a*x+b*y+c."""


def is_held_out(examples: str) -> bool:
    """Is the problem with these values ("f(2)=7, f(5)=10") kept for testing?

    A property of the problem alone: whoever makes training text leaves these out too.
    """
    digest = blake2b(examples.replace(" ", "").encode(), digest_size=4).digest()
    return int.from_bytes(digest) % HELD_OUT_SHARE == 0


class Expressions(SingleTurn):
    """Python expressions for functions known by a few values, by level of difficulty."""

    name = "expressions"

    def __init__(self, level: int = 1, prompt: str = PROMPT, seed: int = 0) -> None:
        """Choose the problems.

        Args:
            level: 1 to 4, see `LEVELS`.
            prompt: the question, with {examples} in it; {arguments} is "x" or "x, y".
            seed: of the order of the tasks.
        """
        if level not in LEVELS:
            raise ValueError(f"level = {level!r}: the levels are {', '.join(map(str, LEVELS))}.")
        if "{examples}" not in prompt:
            raise ValueError(f"prompt = {prompt!r}: it must hold {{examples}}.")
        self._level, self._prompt, self._seed = LEVELS[level], prompt, seed

    def tasks(self, split: str) -> Sequence[Task]:
        """Every problem of the level once, in an order that `seed` decides."""
        if split not in ("train", "test"):
            raise ValueError(f"split = {split!r}: expressions has 'train' and 'test'.")
        return _Tasks(self._level, split, self._prompt, self._seed)

    def grade(self, task: Task, reply: str) -> Grade:
        """Run it at all points, in one call, and compare the values."""
        expression = code.extract(reply).strip()
        if not expression:
            return Grade.of(False, "no expression")
        asked = task.payload
        program = PROGRAM.format(arguments=asked["arguments"], expression=expression)
        test = code.Call(function="values", args=(asked["points"],), expected=asked["values"])
        return code.run_tests(program, [test])

    def gold_reply(self, task: Task) -> str:
        """The function that the values were computed with."""
        return str(task.payload["solution"])


class _Tasks(Sequence[Task]):
    """The problems of one split, by number; a task is made when it is drawn."""

    def __init__(self, level: Level, split: str, prompt: str, seed: int) -> None:
        self._level, self._prompt = level, prompt
        self._points = {point for shown in level.shown for point in shown}
        ours = [n for n, text in enumerate(self._all()) if is_held_out(text) == (split == "test")]
        random.Random(f"expressions/{seed}/{split}").shuffle(ours)
        self._numbers = array("L", ours)

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        number, level = self._numbers[index], self._level
        factors, shown = self._problem(number)
        examples = ", ".join(self._text(factors, point) for point in shown)
        arguments = ", ".join(level.arguments)
        points = [*shown, *level.hidden]
        return Task(
            id=examples,
            prompt=self._prompt.replace("{examples}", examples).replace("{arguments}", arguments),
            payload={
                "arguments": arguments,
                "solution": level.text(factors),
                "points": points,
                "values": [level.value(factors, point) for point in points],
            },
        )

    def _problem(self, number: int) -> tuple[Point, tuple[Point, ...]]:
        function, place = divmod(number, len(self._level.shown))
        return self._level.factors[function], self._level.shown[place]

    def _all(self) -> Iterator[str]:
        """The examples of every problem, by number."""
        for factors in self._level.factors:
            texts = {point: self._text(factors, point) for point in self._points}
            for shown in self._level.shown:
                yield ", ".join([texts[point] for point in shown])

    def _text(self, factors: Point, point: Point) -> str:
        return f"f({', '.join(map(str, point))})={self._level.value(factors, point)}"
