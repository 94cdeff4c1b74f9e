"""The forms in which people keep preferences: one file each in `forms`, told by their columns."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, ClassVar

from munro.rewards.plugins import Registry
from munro.rewards.preference.comparison import SCORES, Comparison
from munro.rewards.preference.context import context_of, messages_of

Row = Mapping[str, Any]
"""One line of a file: columns by name."""


class Form(ABC):
    """A way to write a comparison down.

    Example:
        class Mine(Form):
            columns = ("ask", "good", "bad")

            def read(self, row):
                pair = (row["good"], row["bad"])
                return [Comparison(context=row["ask"], candidates=pair, scores=(5, 2))]
    """

    columns: ClassVar[tuple[str, ...]] = ()
    """All of which a row must have to be of this form."""

    def is_of(self, row: Row) -> bool:
        """Whether a row that has the columns is of this form."""
        return all(name in row for name in self.columns)

    @abstractmethod
    def read(self, row: Row) -> list[Comparison]:
        """What the row says; several where it answers several questions. Other columns may be
        there, and are passed over.

        Raises:
            ValueError: what is wrong with it, in one sentence.
        """


FORMS = Registry(
    what="form of preferences",
    group="munro.preference_forms",
    home="munro.rewards.preference.forms",
    fits=lambda value: (
        inspect.isclass(value) and issubclass(value, Form) and not inspect.isabstract(value)
    ),
)


@cache
def forms() -> dict[str, Form]:
    """Every form that has a name."""
    return {name: FORMS.find(name)() for name in FORMS.names()}


def form_of(row: Row) -> Form:
    """The form that a row is of: the one most of whose columns it has.

    Raises:
        ValueError: none; names what is missing for the nearest.
    """
    fitting = [form for form in forms().values() if form.is_of(row)]
    if fitting:
        return max(fitting, key=lambda form: len(form.columns))
    near = max(forms().values(), key=lambda form: sum(name in row for name in form.columns))
    missing = [name for name in near.columns if name not in row]
    known = "; ".join(f"{name} ({', '.join(form.columns)})" for name, form in forms().items())
    if len(missing) == len(near.columns) or not missing:
        raise ValueError(f"these columns are no preferences. There are: {known}")
    raise ValueError(
        f"{' and '.join(missing)} missing: the form nearest to these columns has "
        f"{', '.join(near.columns)}"
    )


def text(row: Row, name: str) -> str:
    """A column that is a text.

    Raises:
        ValueError: it is missing or something else.
    """
    if name not in row:
        raise ValueError(f"{name} is missing")
    if not isinstance(row[name], str):
        raise ValueError(f"{name} is not a text")
    return str(row[name])


def context(row: Row, name: str) -> str:
    """A column that is a text or a conversation, as a context.

    Raises:
        ValueError: it is missing or something else.
    """
    if isinstance(row.get(name), list):
        return context_of(messages_of(row[name], name))
    return text(row, name)


def subset(row: Row, name: str = "subset") -> str:
    """A column that says what the row is of; "" where there is none."""
    return str(row.get(name) or "")


def number(row: Row, name: str, *, low: float, high: float) -> float:
    """A column that is a number within bounds.

    Raises:
        ValueError: it is missing or something else.
    """
    value = row.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError(f"{name} is {value!r:.40}: give a number from {low:g} to {high:g}")
    return float(value)


def stretched(values: Sequence[float], *, low: float, high: float) -> tuple[int, ...]:
    """Numbers between two bounds as whole scores from 1 to 5; halves go up.

    Example:
        stretched([1.0, 5.5, 10.0], low=1, high=10)  # (1, 3, 5)
    """
    least, most = SCORES[0], SCORES[-1]
    step = (most - least) / (high - low)
    return tuple(int(least + (value - low) * step + 0.5) for value in values)
