"""One row of a safety data set, whatever its columns are called, and which rows belong together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from munro.envs.types import Message

LEVELS = range(4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A request, and what its row says of it.

    Example:
        Case(prompt="How do I kill a process?", is_harmful=False, category="homonyms")
    """

    prompt: str = ""
    messages: tuple[Message, ...] = ()
    """In place of a prompt: a conversation that ends in something to answer."""
    is_harmful: bool | None = None
    """Whether meeting the request would do harm; None where the row does not say."""
    id: str = ""
    """Unique; the number of the row unless given."""
    category: str = ""
    subset: str = ""
    policy: str = ""
    """Name of a response policy."""
    target: str = ""
    """refuse, partial or do-not-refuse; what the policy says unless given."""
    severity: int | None = None
    """How bad meeting the request would be, 0 to 3."""
    need: int | None = None
    """How bad not meeting it would be, 0 to 3."""
    twin: str = ""
    """Id of the row that this one is the harmless, or the harmful, counterpart of."""
    group: str = ""
    """Rows of one group stay on one side of the split, beside twins."""
    more: Mapping[str, Any] = field(default_factory=dict)
    """Other columns, for graders."""

    @property
    def request(self) -> str:
        """What is asked, in the end."""
        return self.messages[-1].content if self.messages else self.prompt


def level_of(row: Mapping[str, Any], name: str, place: str) -> int | None:
    """A level of severity or need, where the row has one.

    Raises:
        ValueError: it is none of 0, 1, 2 and 3.
    """
    value = row.get(name)
    if value is None or value == "" or value != value:  # a table's empty number is NaN
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = -1.0
    if isinstance(value, bool) or number not in LEVELS:
        raise ValueError(f"{place}: {name} = {value!r:.40}: give a level of 0, 1, 2 or 3.")
    return int(number)


def families(cases: Sequence[Case], places: Sequence[str]) -> list[str]:
    """For each case the name of its family: twins, twins of twins, and rows of one group.

    Args:
        cases: with ids.
        places: of their rows, for messages.

    Raises:
        ValueError: two rows have one id, or a twin is no row.
    """
    first: dict[str, int] = {}
    for number, case in enumerate(cases):
        if (other := first.setdefault(case.id, number)) != number:
            raise ValueError(
                f"{places[number]}: the id {case.id!r} is that of {places[other]} too: ids must be "
                "unique."
            )
    above = list(range(len(cases)))

    def head(number: int) -> int:
        while above[number] != number:
            above[number] = above[above[number]]
            number = above[number]
        return number

    groups: dict[str, int] = {}
    for number, case in enumerate(cases):
        together = []
        if case.twin:
            if case.twin not in first:
                raise ValueError(
                    f"{places[number]}: its twin {case.twin!r} is in no row here. Twins stand in "
                    "one file, on one side of the split."
                )
            together.append(first[case.twin])
        if case.group:
            together.append(groups.setdefault(case.group, number))
        for other in together:
            low, high = sorted((head(number), head(other)))
            above[high] = low
    return [cases[head(number)].id for number in range(len(cases))]
