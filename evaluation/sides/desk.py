"""What a rater sees next, and what becomes of a click. No HTTP in it.

A rater has one pair at a time: the first of the list that is not done. A click says which pair it
is for; one for another pair comes from a window that was left open, and is refused.
"""

from __future__ import annotations

import hmac
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from munro.evaluation.sides.journal import Click, Journal, clicks_of
from munro.evaluation.sides.study import Asked
from munro.evaluation.sides.types import GRADES, SCALE, SIDES

MOST_NOTED = 100
"""Refusals of a rater that are kept: nobody shall fill the disk with them."""
MOST_TAB = 32
MOST_SHOWN = 40


class Refused(Exception):
    """A click that is not taken: a status of HTTP, and a sentence for whoever sent it."""

    is_sentence = True

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


@dataclass(slots=True)
class _Rater:
    """How far one is."""

    at: int = 0
    """Place of the pair that is looked at."""
    chosen: dict[str, int] = field(default_factory=dict)
    was_shown: bool = False
    done_by: str = ""
    """Window that finished the pair before."""
    noted: Counter[str] = field(default_factory=Counter)


class Desk:
    """One study being rated.

    Args:
        asked: the study.
        journal: where clicks are kept; what is in it already counts.
        clock: seconds since 1970.
    """

    def __init__(
        self, asked: Asked, journal: Journal, *, clock: Callable[[], float] = time.time
    ) -> None:
        self.asked = asked
        self._journal, self._clock = journal, clock
        self._lock = threading.Lock()
        self._raters = {rater: _Rater() for rater in asked.lists}
        for click in clicks_of(journal.path):
            if click.rater in self._raters:
                _take(self._raters[click.rater], click)

    def rater_of(self, token: str) -> str:
        """Whose token it is.

        Raises:
            Refused: nobody's.
        """
        for known, rater in self.asked.tokens.items():
            if hmac.compare_digest(known.encode(), token.encode()):
                return rater
        raise Refused(403, "This link is not one of the study's: ask for yours.")

    def now(self, rater: str) -> Mapping[str, Any]:
        """What the rater looks at, and what was chosen of it already; without anything to look at
        when all is done.

        Raises:
            OSError: the disk refuses to note that it was shown.
        """
        with self._lock:
            state, looks = self._raters[rater], self.asked.lists[rater]
            told: dict[str, Any] = {"done": state.at, "total": len(looks)}
            if state.at >= len(looks):
                return told
            if not state.was_shown:
                self._keep(rater, state.at, "shown")
            pair, is_turned = looks[state.at]
            first, second = self.asked.texts[pair]
            left, right = (second, first) if is_turned else (first, second)
            return told | {
                "look": state.at,
                "prompt": self.asked.prompts[pair],
                "left": left,
                "right": right,
                "criteria": self.asked.criteria,
                "chosen": dict(state.chosen),
            }

    def click(self, rater: str, sent: Mapping[str, Any]) -> Mapping[str, Any]:
        """Keep what a rater chose: {"look", "field", "value", "tab"}.

        Raises:
            Refused: it is none of the choices, or for another pair than the rater is at.
            OSError: the disk refuses.
        """
        look, name, value = sent.get("look"), sent.get("field"), sent.get("value")
        tab = str(sent.get("tab") or "")[:MOST_TAB]
        with self._lock:
            state = self._raters[rater]
            if type(look) is not int or not isinstance(name, str):
                raise self._noted(rater, "refused", 400, "A click says its look and its field.")
            if look == state.at - 1 and name == "done" and tab and tab == state.done_by:
                return {"saved": True}  # sent again because its answer was lost
            if look != state.at or look >= len(self.asked.lists[rater]):
                why = "This pair was answered in another window: here is the one that is next."
                raise self._noted(rater, "stale", 409, why)
            if why := self._wrong(state, name, value):
                shown = f"{name}={value!r}"[:MOST_SHOWN]
                raise self._noted(rater, "refused", 400, why, shown)
            self._keep(rater, look, name, value, tab)
            return {"saved": True}

    def progress(self) -> Mapping[str, tuple[int, int]]:
        """By rater: pairs done, and pairs in all."""
        with self._lock:
            return {
                rater: (min(state.at, len(self.asked.lists[rater])), len(self.asked.lists[rater]))
                for rater, state in self._raters.items()
            }

    def _wrong(self, state: _Rater, name: str, value: object) -> str:
        if name == "done":
            missing = [one for one in self._fields() if one not in state.chosen]
            return f"Still to choose: {', '.join(missing)}." if missing else ""
        if name not in self._fields():
            return "There is no such question."
        many = range(1, len(SCALE) + 1) if name == "preference" else GRADES
        if type(value) is not int or value not in many:
            return f"A choice is a whole number from {min(many)} to {max(many)}."
        return ""

    def _fields(self) -> list[str]:
        return [
            "preference",
            *(f"{side}/{name}" for name in self.asked.criteria for side in SIDES),
        ]

    def _keep(self, rater: str, look: int, name: str, value: Any = None, tab: str = "") -> None:
        click = Click(at=self._clock(), rater=rater, look=look, field=name, value=value, tab=tab)
        self._journal.add(click)
        _take(self._raters[rater], click)

    def _noted(self, rater: str, what: str, status: int, why: str, value: str = "") -> Refused:
        """Why it is refused, which the report tells of too."""
        state = self._raters[rater]
        if state.noted[what] < MOST_NOTED:
            self._keep(rater, state.at, what, value or None)
        return Refused(status, why)


def _take(state: _Rater, click: Click) -> None:
    """Go on by one click, one that was just kept or one from before."""
    if click.field in ("stale", "refused"):
        state.noted[click.field] += 1
    elif click.look == state.at:
        if click.field == "done":
            state.at, state.done_by = state.at + 1, click.tab
            state.chosen, state.was_shown = {}, False
        elif click.field == "shown":
            state.was_shown = True
        else:
            state.chosen[click.field] = click.value
