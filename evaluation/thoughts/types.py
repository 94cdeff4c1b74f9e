"""What is looked for, and in what."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from munro.rewards.plugins import Registry

Array = NDArray[np.float64]


class BadThoughts(ValueError):
    """Something about thoughts that a person must settle; one sentence."""

    is_sentence = True


@dataclass(frozen=True)
class Rows:
    """Some attempts, as columns.

    Example:
        Rows(step=np.array([1]), group=np.array([0]), text=["Wait."], tokens=np.array([2.0]),
             calls=[()], prompt=["1+1?"], task=["1+1"])
    """

    step: NDArray[np.int64]
    group: NDArray[np.int64]
    """Attempts at one task in one step share it."""
    text: Sequence[str]
    """All that the policy wrote, thoughts and turns."""
    tokens: Array
    """That it sampled."""
    calls: Sequence[Sequence[tuple[str, str]]]
    """(name, arguments) of each call, as written: hostile until parsed."""
    prompt: Sequence[str]
    task: Sequence[str]

    @cached_property
    def arrow(self) -> pa.Array:
        """The texts, for RE2."""
        return pa.array(self.text, pa.large_string())

    def count(self, pattern: str) -> Array:
        """How often a pattern of RE2 stands in each text."""
        found = pc.count_substring_regex(self.arrow, pattern=pattern)
        counts: Array = found.to_numpy(zero_copy_only=False).astype(np.float64)
        return counts


class Feature(ABC):
    """One thing to look for.

    Example:
        class Loud(Feature):
            title = "Shouts"
            is_share = True

            def values(self, rows):
                return rows.count("!")
    """

    title: ClassVar[str] = ""
    """Over its curve."""
    told: ClassVar[str] = ""
    """Under the title: what is counted, in a sentence."""
    is_share: ClassVar[bool] = False
    """The curve is the share of replies whose value is above 0; else it is the mean value."""
    pattern: ClassVar[str] = ""
    """Of RE2: what examples are cut around; the beginning where there is none."""

    @abstractmethod
    def values(self, rows: Rows) -> Array:
        """[N] how much of it is in each reply; NaN where the question does not arise."""


class Phrases(Feature):
    """Replies that hold one of the phrases of a list."""

    is_share = True

    def values(self, rows: Rows) -> Array:
        """How many are in each."""
        return rows.count(self.pattern)


FEATURES = Registry(
    what="feature of thoughts",
    group="munro.thoughts",
    home="munro.evaluation.thoughts.features",
    fits=lambda value: (
        inspect.isclass(value) and issubclass(value, Feature) and not inspect.isabstract(value)
    ),
)


def matched(pattern: str, text: str) -> tuple[int, int] | None:
    """Where a pattern of RE2 first stands in a text, in characters; None where it does not."""
    array: Any = pa.array([text], pa.large_string())
    start = pc.find_substring_regex(array, pattern=pattern)[0].as_py()
    if start < 0:
        return None
    rest = pc.replace_substring_regex(array, pattern=pattern, replacement="", max_replacements=1)
    begin = len(text.encode()[:start].decode(errors="ignore"))
    return begin, begin + len(text) - len(rest[0].as_py())


def mark(said: str) -> tuple[str, Feature]:
    """A feature of one's own: NAME=PATTERN, the share of replies that hold the pattern of RE2.

    Raises:
        BadThoughts: it is no such thing, or no pattern.
    """
    name, equals, pattern = said.partition("=")
    if not name or not equals or not pattern:
        raise BadThoughts(f"--mark {said!r}: write NAME=PATTERN.")
    try:
        pc.count_substring_regex(pa.array([""], pa.large_string()), pattern=pattern)
    except pa.ArrowInvalid as error:
        why = str(error).partition(": ")[2] or str(error)
        raise BadThoughts(f"--mark {name}: {pattern!r} is no pattern of RE2 ({why}).") from error
    fields = {"title": name, "told": f"Share of replies that hold {pattern}", "pattern": pattern}
    made = type("Mark", (Phrases,), fields)
    feature = made()
    assert isinstance(feature, Feature)
    return name, feature
