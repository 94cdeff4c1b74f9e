"""Studies and raters as tests have them: made by the real code, rated through the real desk."""

from __future__ import annotations

import json
import random
from pathlib import Path
from unittest.mock import patch

from munro.evaluation.sides.desk import Desk
from munro.evaluation.sides.journal import Journal
from munro.evaluation.sides.make import Wanted, make
from munro.evaluation.sides.study import CLICKS, Asked, Key
from munro.evaluation.sides.types import Kind

WORDS = ("cairn", "stone", "hill", "path", "rope", "walk", "summit", "ridge", "cloud", "map")


def side(path: Path, answers, *, prompts=None, model="") -> Path:
    """A side's JSONL: an answer a task; None where there is none."""
    rows = []
    for at, answer in enumerate(answers):
        if answer is not None:
            prompt = prompts[at] if prompts else f"Question {at}?"
            row = {"id": f"t{at}", "prompt": prompt, "response": answer}
            rows.append(row | ({"model": model} if model else {}))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def texts(number: int, seed: int, length: int = 8) -> list[str]:
    chosen = random.Random(seed)
    return [" ".join(chosen.choices(WORDS, k=length)) + f" {seed}" for _ in range(number)]


def study(folder: Path, number: int = 12, *, a=None, b=None, **wanted) -> Path:
    """A study of so many pairs."""
    a = side(folder / "a.jsonl", a or texts(number, 1))
    b = side(folder / "b.jsonl", b or texts(number, 2))
    make(a, b, folder / "study", Wanted(**({"checks": 0, "again": 0} | wanted)))
    return folder / "study"


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def rate(folder: Path, choose, *, raters=None, seconds=lambda rater: 30.0, tabs=("t",)) -> None:
    """Every rater through the whole list.

    Args:
        folder: of the study.
        choose: (rater, task, kind, b_left) to 1 .. 7 as clicked, from the left.
        raters: those who rate; all unless given.
        seconds: that a rater takes over a pair.
        tabs: of the windows that clicks come from in turn.
    """
    # that clicks reach the disk is for others to show; here it only takes time
    with patch("munro.evaluation.sides.journal.os.fsync"):
        _rate(folder, choose, raters, seconds, tabs)


def _rate(folder, choose, raters, seconds, tabs):
    asked, key = Asked.read(folder), Key.read(folder)
    journal, clock = Journal(folder / CLICKS), Clock()
    desk = Desk(asked, journal, clock=clock)
    for rater in raters or asked.raters:
        for look, (pair, is_turned) in enumerate(asked.lists[rater]):
            desk.now(rater)
            clock.now += seconds(rater)
            b_left = key.a_first[pair] is is_turned
            value = choose(rater, key.tasks[pair], key.kinds[rater][look], b_left)
            fields = {"preference": value}
            fields |= {f"{s}/{name}": 1 for name in asked.criteria for s in ("left", "right")}
            for at, (name, one) in enumerate([*fields.items(), ("done", None)]):
                tab = tabs[at % len(tabs)]
                desk.click(rater, {"look": look, "field": name, "value": one, "tab": tab})
    journal.close()


def clicked(score: float, b_left: bool) -> int:
    """What is clicked for B being this much better, in [-1.5, 1.5]."""
    return max(1, min(7, round(4 + 2 * (-score if b_left else score))))


def honest(score: float = 0.5):
    """Who finds B better by this, and sees through checks."""
    return lambda rater, task, kind, b_left: clicked(-1.0 if kind is Kind.CHECK else score, b_left)
