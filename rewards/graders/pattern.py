"""Pattern: whether a regular expression is found in the response. The cheapest judge there is.

A pattern can take forever on a text that was written for it, so it runs in a killable process.
"""

from __future__ import annotations

import re

from munro.rewards.kinds import Field, Grader, Item, Kind
from munro.rewards.types import Grade

MOST_CHARS = 200_000


class PatternGrader(Grader):
    r"""Passes where the pattern is found.

    Example:
        PatternGrader(pattern=r"\bI (?:can't|cannot|won't)\b").grade({"response": "I can't."})
    """

    kind = Kind(
        summary="whether a regular expression is found",
        fields={"pattern": Field(what="instead of the option's", is_required=False)},
    )

    def __init__(self, pattern: str = "", absent: bool = False, ignore_case: bool = True) -> None:
        """
        Args:
            pattern: a regular expression of Python's; an item may bring its own.
            absent: pass where it is not found.
            ignore_case: take capitals for small letters.

        Raises:
            ValueError: it is no regular expression.
        """
        self._flags = re.IGNORECASE if ignore_case else 0
        self._absent = absent
        self._pattern = self._compiled(pattern) if pattern else None

    def check(self, item: Item) -> None:
        """Refuse an item without any pattern, or with one that is none."""
        self._pattern_of(item)

    def grade(self, item: Item) -> Grade:
        """1 and passed where it is found, or where it must not be and is not."""
        found = self._pattern_of(item).search(str(item["response"])[:MOST_CHARS])
        reason = f"found at character {found.start()}" if found else "not found"
        return Grade.of((found is None) == self._absent, reason)

    def _pattern_of(self, item: Item) -> re.Pattern[str]:
        if own := item.get("pattern"):
            return self._compiled(own)
        if self._pattern is None:
            raise ValueError("'pattern' is missing: give it as an option, or to each item")
        return self._pattern

    def _compiled(self, pattern: str) -> re.Pattern[str]:
        try:
            return re.compile(pattern, self._flags)
        except re.error as error:
            raise ValueError(
                f"pattern {pattern[:80]!r} is no regular expression: {error}"
            ) from error
