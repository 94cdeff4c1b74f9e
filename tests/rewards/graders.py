"""Graders that misbehave, each in its own way, for the tests of the service."""

from __future__ import annotations

import os
import threading
import time
from typing import ClassVar

from munro.rewards.errors import GraderError
from munro.rewards.kinds import Field, Grader, Item, Kind
from munro.rewards.types import Grade


class Obedient(Grader):
    """Does what the response says: how a test chooses what happens to a grading."""

    kind = Kind(fields={"note": Field(what="anything", is_required=False)})

    gate: ClassVar[threading.Event] = threading.Event()
    fails: ClassVar[dict[str, int]] = {}

    def __init__(self, bonus: float = 0.0) -> None:
        self._bonus = bonus

    def grade(self, item: Item) -> Grade:
        match str(item["response"]).split():
            case ["worth", number]:
                return Grade.of(float(number) + self._bonus, f"by {os.getpid()}")
            case ["die"]:
                os._exit(1)
            case ["sleep", seconds]:
                time.sleep(float(seconds))
            case ["loop"]:
                while True:
                    pass
            case ["allocate"]:
                return Grade.of(float(len(bytearray(1 << 40))))
            case ["bug"]:
                raise KeyError("oops")
            case ["broken"]:
                raise GraderError("the machinery failed")
            case ["unusable"]:
                raise ValueError("'response' says that it is unusable")
            case ["wait"]:
                self.gate.wait()
            case ["fail", key, times]:
                self.fails[key] = self.fails.get(key, 0) + 1
                if self.fails[key] <= int(times):
                    raise GraderError("not yet")
        return Grade.of(True)


class Comparing(Grader):
    """The longest response of a group wins."""

    kind = Kind(summary="compares", in_process=True)

    def grade(self, item: Item) -> Grade:
        return self.grade_group([item])[0]

    def grade_group(self, items: list[Item]) -> list[Grade]:
        longest = max(len(item["response"]) for item in items)
        return [Grade.of(len(item["response"]) == longest) for item in items]


class Here(Obedient):
    """The same, in the service's process."""

    kind = Kind(summary="in this process", in_process=True)


POINTS = {
    "child": "tests.rewards.graders:Obedient",
    "here": "tests.rewards.graders:Here",
    "jointly": "tests.rewards.graders:Comparing",
}
"""Names that the tests give them, as entry points of a package would."""
