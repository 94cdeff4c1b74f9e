"""What keeps tasks from being made, in one line each."""

from __future__ import annotations


class BadRepository(ValueError):
    """Nothing can be built from what a person gave: says what is wrong, and the way out."""

    is_sentence = True


class Dropped(Exception):
    """A candidate makes no task. A result, not a fault: it goes to the funnel with its reason."""

    def __init__(self, stage: str, reason: str, detail: str = "") -> None:
        """
        Args:
            stage: of the funnel where it fell out.
            reason: without anything of this candidate alone, so that reasons can be counted.
            detail: what is this candidate's alone, for the journal.
        """
        super().__init__(reason)
        self.stage = stage
        self.reason = reason
        self.detail = detail
