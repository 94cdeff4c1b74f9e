"""Each kind of grader over the library that does its work: fields of an item in, `Grade` out.

Libraries are imported when a grader is made, so that one kind does not cost another's imports.
"""

from __future__ import annotations

from rewards.kinds import Grader, Item
from rewards.types import Grade


class MathGrader(Grader):
    """`rewards.math` for one caller at a time, in the process that it runs in."""

    def __init__(self) -> None:
        from rewards.math import MathVerifier

        self._verifier = MathVerifier()

    def grade(self, item: Item) -> Grade:
        """Compare the last answer of the response with the reference."""
        return self._verifier.verify(item["response"], str(item["answer"]))

    def close(self) -> None:
        """End the verifier's processes."""
        self._verifier.close()
