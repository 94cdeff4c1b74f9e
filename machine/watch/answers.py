"""What the page asks for, as plain data: everything but HTTP."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from munro.machine.report.figures import specify
from munro.machine.watch import shown
from munro.machine.watch.curves import gist
from munro.machine.watch.shelf import ORDERS, Shelf, Wanted
from munro.machine.watch.shown import NotThere
from munro.machine.watch.watched import STORES, Watched

MOST_BINS, FEWEST_BINS = 1500, 150
BINS_OF_ALL = 6000
"""Points of one curve, over all runs."""
LOOK_EVERY_S = 0.4
"""Several browsers at once look once."""
READ_S = 0.3
"""After which the attempts of a long run wait for the next look: its curves come first."""
MOST_ROWS = 200


class BadQuestion(Exception):
    """The page asked for what makes no sense; says what."""

    is_sentence = True


class Answers:
    """Answers about some runs, brought up to date as they are asked for.

    Example:
        answers = Answers([Watched(Path("runs/stem"))])
        answers.to("news", {"at": ""})
    """

    def __init__(self, runs: Sequence[Watched]) -> None:
        self.runs = list(runs)
        self._looking = threading.Lock()
        self._looked = -LOOK_EVERY_S
        self._tag = self._names = ""
        self._figures, self._drawn = list[dict[str, Any]](), list[str]()
        self._chosen_by: object = None
        self.kinds: Mapping[str, Callable[[Mapping[str, str]], dict[str, Any]]] = {
            "news": self._news,
            "attempts": self._attempts,
            "given": self._given,
            "group": self._group,
            "attempt": self._attempt,
            "tokens": self._tokens,
        }

    def to(self, kind: str, asked: Mapping[str, str]) -> dict[str, Any]:
        """The answer to a question of one of the `kinds`.

        Raises:
            BadQuestion: a parameter makes no sense.
            NotThere, StoreError: what is asked for is gone, or damaged.
        """
        return self.kinds[kind](asked)

    def look(self) -> None:
        """Read what is new in every run, at most every `LOOK_EVERY_S`."""
        with self._looking:
            now = time.monotonic()
            if now - self._looked < LOOK_EVERY_S:
                return
            for run in self.runs:
                with run.lock:
                    run.look(now + READ_S)
            self._choose_figures()
            self._looked = time.monotonic()

    def _choose_figures(self) -> None:
        """Which figures there are, by what was measured so far."""
        names = sorted({name for run in self.runs for name in run.curves.names})
        targets = {
            name: value for run in reversed(self.runs) for name, value in run.targets.items()
        }
        state = (names, targets, sum(len(run.curves) for run in self.runs))
        if state == self._chosen_by:
            return
        self._chosen_by = state
        curves = [run.curves for run in self.runs]
        self._figures = specify(gist(curves, names), targets=targets)
        self._drawn = sorted(
            {s["key"] for f in self._figures for p in f["panels"] for s in p["series"]}
        )
        self._tag, self._names = _tag_of(self._figures), _tag_of(self._drawn)

    def _news(self, asked: Mapping[str, str]) -> dict[str, Any]:
        """What a page does not have yet: `at` is what it has, "generation.per.bins" a run."""
        self.look()
        has = [_numbers(part, 3) for part in asked.get("at", "").split(",")]
        most = max(FEWEST_BINS, min(MOST_BINS, BINS_OF_ALL // len(self.runs)))
        told = []
        for number, run in enumerate(self.runs):
            with run.lock:
                generation, per, bins = has[number] if number < len(has) else (-1, 0, 0)
                if generation != run.generation or asked.get("names") != self._names:
                    per = bins = 0
                new = run.curves.since(bins, per, most=most, names=self._drawn)
                told.append(run.told() | {"curves": new})
        answer: dict[str, Any] = {"tag": self._tag, "names": self._names, "runs": told}
        if asked.get("tag") != self._tag:
            answer["figures"] = self._figures
        return answer

    def _attempts(self, asked: Mapping[str, str]) -> dict[str, Any]:
        _, shelf = self._place(asked)
        order = asked.get("order", "")
        if order not in ORDERS:
            raise BadQuestion(f"there is no order {order!r}.")
        verdict = {"": None, "passed": True, "failed": False}
        if asked.get("verdict", "") not in verdict:
            raise BadQuestion(f"verdict is passed or failed, not {asked['verdict']!r}.")
        wanted = Wanted(
            step=_number(asked, "step") if asked.get("step") else None,
            env=asked.get("env", ""),
            solved=verdict[asked.get("verdict", "")],
            given_up=asked.get("given_up", ""),
            order=order,
            text=asked.get("text", ""),
            first=_number(asked, "from"),
            count=min(_number(asked, "count", 40), MOST_ROWS),
        )
        rows, found, looked = shelf.rows(wanted)
        return {"rows": rows, "found": found, "looked": looked, "stored": len(shelf)}

    def _given(self, asked: Mapping[str, str]) -> dict[str, Any]:
        run = self._run(asked)
        with run.lock:
            first, count = _number(asked, "from"), min(_number(asked, "count", 40), MOST_ROWS)
            rows, found = run.given.rows(asked.get("reason", ""), first, count)
            there = set(run.shelves["dropped"].steps)
            rows = [row | {"stored": row["step"] in there} for row in rows]
            return {"rows": rows, "found": found, "total": run.given.total}

    def _group(self, asked: Mapping[str, str]) -> dict[str, Any]:
        _, shelf = self._place(asked)
        return shown.group(shelf, _number(asked, "step"), _number(asked, "index"))

    def _attempt(self, asked: Mapping[str, str]) -> dict[str, Any]:
        _, shelf = self._place(asked)
        return shown.attempt(
            shelf, *(_number(asked, name) for name in ("step", "index", "attempt"))
        )

    def _tokens(self, asked: Mapping[str, str]) -> dict[str, Any]:
        run, shelf = self._place(asked)
        step, index, number, first = (
            _number(asked, name) for name in ("step", "index", "attempt", "from")
        )
        return shown.tokens(run.path, shelf, step, index, number, first, run.decode())

    def _run(self, asked: Mapping[str, str]) -> Watched:
        number = _number(asked, "run")
        if not 0 <= number < len(self.runs):
            raise NotThere(f"there is no run {number}.")
        return self.runs[number]

    def _place(self, asked: Mapping[str, str]) -> tuple[Watched, Shelf]:
        run, store = self._run(asked), asked.get("store", STORES[0])
        if store not in run.shelves:
            raise NotThere(f"there is no store {store!r}.")
        return run, run.shelves[store]


def _number(asked: Mapping[str, str], name: str, otherwise: int = 0) -> int:
    text = asked.get(name, str(otherwise))
    if not text.removeprefix("-").isascii() or not text.removeprefix("-").isdigit():
        raise BadQuestion(f"{name} is a whole number, not {text[:40]!r}.")
    if len(text) > 18:
        raise BadQuestion(f"{name} is too large.")
    return int(text)


def _tag_of(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _numbers(text: str, count: int) -> tuple[int, ...]:
    parts = text.split(".")
    if len(parts) != count or not all(part.isascii() and part.isdigit() for part in parts):
        return (-1,) + (0,) * (count - 1)
    return tuple(int(part[:15]) for part in parts)
