"""How an agent went about it, by rules: `munro.rewards.trajectory.conduct` as a grader."""

from __future__ import annotations

from munro.rewards.kinds import Grader, Item, Kind, Part, Scale
from munro.rewards.trajectory.conduct import conduct_of
from munro.rewards.trajectory.items import FIELDS, told
from munro.rewards.types import Grade

PARTS = ("efficiency", "redundant", "gave_up", "unfounded")


class ConductGrader(Grader):
    """Counts calls that told nothing new, and signs that it gave up or claims what it did not do.

    Example:
        said = {"role": "assistant", "content": "I give up."}
        ConductGrader().grade({"transcript": [said], "response": "I give up."}).parts["gave_up"]
    """

    kind = Kind(
        summary="how an agent went about it, by rules: redundant calls, gave up, unfounded claims",
        fields={name: FIELDS[name] for name in ("transcript", "calls")},
        scale=Scale(parts=dict.fromkeys(PARTS, Part())),
        is_light=True,
    )

    def check(self, item: Item) -> None:
        """Refuse a transcript that is none."""
        told(item)

    def grade(self, item: Item) -> Grade:
        """The efficiency, without a verdict; the rest is in its parts."""
        found = conduct_of(told(item))
        return Grade(reward=found.efficiency, parts=found.parts)
