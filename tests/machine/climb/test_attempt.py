"""A learner that dies takes the climb back to its last checkpoint, for as long as that helps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from munro.machine.climb import attempt
from munro.machine.climb.attempt import Attempt
from munro.machine.climb.cluster import LearnerHangs, LearnerLost
from munro.machine.climb.cluster.roles import LEARNER_RESTARTS, Deaths
from munro.machine.climb.start import Start
from munro.rl.clip import Clip
from munro.rl.state import ClimbState


class Told:
    """A console that keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


class Dying(Attempt):
    """A climb whose learner dies whenever `once` is called, until the list of lives is empty."""

    lives: Iterator[int]

    def once(self, start: Start, deaths: Deaths) -> ClimbState:
        if next(self.lives, None) is None:
            return start.state
        raise LearnerLost("the learner died")


def at(step: int) -> Start:
    return Start(state=ClimbState(clip=Clip(), step=step), checkpoint=None, again=True)


def climb(monkeypatch: pytest.MonkeyPatch, saved: Iterable[int]) -> tuple[ClimbState, list[str]]:
    """Climb from step 0; `saved` is the newest checkpoint's step at each death."""
    console, steps = Told(), list(saved)
    resumed = iter(steps)
    monkeypatch.setattr(attempt, "resume", lambda *_, **__: at(next(resumed)))
    monkeypatch.setattr(Dying, "lives", iter(steps), raising=False)
    nothing: Any = None
    climbs: Any = Dying(
        run=nothing,
        config=nothing,
        console=console,  # type: ignore[arg-type]
        interrupt=nothing,
        model=nothing,
        restarts=nothing,
        trackers=nothing,
        spans=nothing,
    )
    return climbs.to_the_next_restart(at(0)), console.notes


def test_deaths_with_a_new_checkpoint_between_them_are_not_added_up(monkeypatch):
    steps = range(10, 10 * (4 * LEARNER_RESTARTS), 10)
    state, notes = climb(monkeypatch, steps)
    assert state.step == steps[-1]
    assert len(notes) == len(steps) > LEARNER_RESTARTS
    assert notes[0] == "the learner died; going back to step 10"


def test_deaths_before_the_same_checkpoint_end_the_climb_and_say_so(monkeypatch):
    again = [20] * (LEARNER_RESTARTS + 1)
    with pytest.raises(LearnerLost, match=r"died; it died 6 times without getting from step 20 to"):
        climb(monkeypatch, [10, *again])


def test_as_many_deaths_as_allowed_are_lived_through(monkeypatch):
    state, notes = climb(monkeypatch, [0] * LEARNER_RESTARTS)
    assert (state.step, len(notes)) == (0, LEARNER_RESTARTS)


def test_a_learner_that_hangs_at_the_same_checkpoint_twice_ends_the_climb():
    deaths = Deaths(3)
    deaths.another(LearnerHangs("it hangs"), 3)
    deaths.another(LearnerHangs("it hangs"), 6)
    with pytest.raises(LearnerHangs, match="it hangs; it died 2 times without getting from step 6"):
        deaths.another(LearnerHangs("it hangs"), 6)
