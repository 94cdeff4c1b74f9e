"""What a grader says of one attempt."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from munro.rewards.errors import GraderError


@dataclass(frozen=True, slots=True, kw_only=True)
class Grade:
    """A grader's judgement: how much the attempt is worth, and whether it passed.

    Broken machinery is not a grade: raise `munro.rewards.errors.GraderError` (retried, never
    scored).

    Example:
        Grade(reward=1.0, passed=True, parts={"tests": 1.0}, reason="12 of 12 tests passed")
    """

    reward: float
    """The task's own reward, before penalties. Finite."""
    passed: bool | None = None
    """The verdict that pass rates count; None where the task has no notion of passing."""
    parts: Mapping[str, float] = field(default_factory=dict)
    """Named components of `reward`, for the store and the report. All finite."""
    reason: str = ""
    """One short line for a person."""
    evidence: Mapping[str, str] = field(default_factory=dict)
    """Texts of the attempt that later graders of its group may read. Not stored."""

    def __post_init__(self) -> None:
        for name, value in (("reward", self.reward), *self.parts.items()):
            if not abs(value) <= sys.float_info.max:  # also a whole number too large for a float
                raise GraderError(
                    f"the grader returned {value!s:.40} as {name}: grades must be finite"
                )
        if not self.reason.isascii():
            # it may name a file by bytes that are no text, which no store takes
            told = self.reason.encode(errors="backslashreplace").decode()
            object.__setattr__(self, "reason", told)

    @property
    def solved(self) -> bool:
        """The verdict, or where there is none `reward > 0` (RECIPE section 15, "pass rate")."""
        return self.reward > 0 if self.passed is None else self.passed

    @classmethod
    def of(cls, outcome: bool | float, reason: str = "") -> Grade:
        """Grade from a verdict (1 or 0) or from a number (no verdict)."""
        if isinstance(outcome, bool):
            return cls(reward=float(outcome), passed=outcome, reason=reason)
        return cls(reward=float(outcome), reason=reason)
