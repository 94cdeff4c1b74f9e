"""A fleet that answers at once: what it says follows from task, attempt and seed alone."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace

from munro.rewards.types import Grade
from munro.rollout.types import Abandoned, Group, Reason
from tests.builders import make_attempt, make_group, make_trajectory


class Answers:
    """Stands in for problem workers. `dies_after` calls it breaks; `gives_up` tasks fail once."""

    def __init__(self, *, dies_after=10**9, gives_up=()):
        self.dies_after, self.gives_up = dies_after, set(gives_up)
        self.asked = []

    def attempts(self, items):
        if self.dies_after == 0:
            raise KeyboardInterrupt
        self.dies_after -= 1
        self.asked += [(task.env, task.id, number) for _, task, _, of in items for number in of]
        return [self.one(*item) for item in items]

    def one(self, index, task, cap, numbers):
        if task.id in self.gives_up:
            self.gives_up.discard(task.id)
            return Abandoned(
                index=index, task=task, reason=Reason.UNSCORED, detail="PolicyError: no server"
            )
        group = make_group(index=index, task=task)
        made = []
        for number in numbers:
            passed = (index * 31 + number * 17) % 5 > 0
            grade = Grade(reward=float(passed), passed=passed, parts={"brief": number / 4})
            trajectory = make_trajectory(reply=f"{task.id}, number {number}")
            made.append(replace(make_attempt(trajectory=trajectory), grade=grade))
        return Group(
            index=index, task=task, attempts=tuple(made), early_pass_rate=group.early_pass_rate
        )


def fleet_of(answers):
    """A `start_fleet` that hands these answers out, and counts how often it was called."""
    started = []

    @contextmanager
    def start_fleet(config, model, folder, *, learner=True):
        assert not learner
        started.append(config)
        yield type("Fleet", (), {"solvers": answers})()

    return start_fleet, started
