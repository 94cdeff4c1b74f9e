"""From runs to lessons on disk: selected, filtered, weighed, with an account of every number.

    index ──► candidates ──► read, filtered, written ──► survivors' index ──► those that are taken

More candidates are read than will be taken, since filters drop some and the shares of several runs
are to hold afterwards; if too few survive, more are read.
"""

from __future__ import annotations

import json
import math
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from munro.base_model.checkpoint import Checkpoint
from munro.base_model.data.shards.packing import Lesson
from munro.distill.config import DistillConfig, FiltersConfig, SelectConfig
from munro.distill.filters import Count, Sieve
from munro.distill.lessons import write_lessons, write_taken
from munro.distill.rewrite import Teller
from munro.distill.select import Index, Rows, eligible, rows_of
from munro.distill.sources import (
    CannotDistill,
    Source,
    read_index,
    stored_steps,
    told_to_template,
)
from munro.distill.traces import read_traces
from munro.distill.train import made_for, row_tokens

SPARE = 1.25
"""Candidates for each trace that is wanted, at first."""
WHOLE = (0.0, 1.0)
ACCOUNT = "account.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What came of one run.

    Example:
        Taken(name="stem", run="runs/stem", weight=0.56, first_step=250, last_step=500,
              num_steps=251, stored=32128, passed=20100, read=1250, prompts=840, traces=1000,
              tokens=51000, dropped={"truncated": 12}, examples={"truncated": ["stem:250/7/3 ..."]})
    """

    name: str
    run: str
    weight: float
    first_step: int
    last_step: int
    num_steps: int
    stored: int
    """Traces in the window."""
    passed: int
    """Of these, with a wanted outcome."""
    read: int
    """Candidates that went through the filters."""
    prompts: int
    """Different ones among the traces taken."""
    traces: int
    """Taken in the end."""
    tokens: int
    """Of those, prompts included."""
    dropped: dict[str, int]
    """By filter; such as dropped none are left out."""
    examples: dict[str, list[str]]
    """Ids of a few that it dropped, with how each begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What was taken of all runs."""

    runs: tuple[Taken, ...]
    cut: tuple[str, ...] = ()
    """A sentence for every file of rollouts that had lost its end."""

    @property
    def traces(self) -> int:
        """In all."""
        return sum(taken.traces for taken in self.runs)

    @property
    def tokens(self) -> int:
        """In all."""
        return sum(taken.tokens for taken in self.runs)


def read_account(folder: Path) -> Account:
    """What `prepare` wrote beside the lessons."""
    raw = json.loads((folder / ACCOUNT).read_text(encoding="utf-8"))
    return Account(runs=tuple(Taken(**one) for one in raw["runs"]), cut=tuple(raw["cut"]))


def prepare(
    sources: Sequence[Source], base: Checkpoint, config: DistillConfig, folder: Path
) -> Account:
    """Select, filter and write lessons into `folder`, which appears once they are whole.

    Raises:
        CannotDistill: a window is empty, or nothing of a run is left (says which filter took it),
            or the base does not fit.
        StoreError: rollouts are damaged.
        DataError: an evaluation file cannot be read.
    """
    draft = folder.with_name(f".{folder.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    preparing = _Preparing(sources, base, config)
    while not preparing.pass_over(draft):
        pass
    account = preparing.account()
    write_taken(draft, preparing.lessons)
    (draft / ACCOUNT).write_text(json.dumps(asdict(account), indent=2), encoding="utf-8")
    draft.rename(folder)
    return account


class _Preparing:
    """Passes over the runs until enough traces survive."""

    def __init__(self, sources: Sequence[Source], base: Checkpoint, config: DistillConfig) -> None:
        self._sources, self._config = sources, config
        vocabulary = made_for(base)[1]
        tokenizer = base.tokenizer()
        self._tellers = [
            Teller(tokenizer, config.template, str(base.path), vocabulary, told_to_template(source))
            for source in sources
        ]
        self._columns = row_tokens(base, config.training)
        self._steps = [stored_steps(source, config.select.window) for source in sources]
        self._cut: dict[str, None] = {}
        self._dropped = config.select.dropped
        self._index = read_index(sources, self._steps, dropped=self._dropped, on_cut=self._on_cut)
        self._rule = config.select.model_copy(update={"window": WHOLE})
        several = len(sources) > 1
        self._weights = {source.name: source.weight for source in sources} if several else None
        self._eligible = [eligible(self._index, self._rule, n) for n in range(len(sources))]
        wanted = rows_of(self._index, self._rule, self._weights)
        self._wanted = np.bincount(self._index.source[wanted], minlength=len(sources))
        self._spare = SPARE

    def pass_over(self, folder: Path) -> bool:
        """Read candidates, write the lessons of those that survive; whether they suffice."""
        candidates = self._index.taken(self._candidates())
        self._read = np.bincount(candidates.source, minlength=len(self._sources))
        self._sieves = [Sieve(self._filters(source)) for source in self._sources]
        self._too_long = [Count() for _ in self._sources]
        survivors: list[int] = []
        starts = [0]
        write_lessons(folder, self._lessons(candidates, survivors, starts))
        self._starts = np.array(starts, np.int64)
        self._survivors = candidates.taken(np.array(survivors, np.int64))
        self.taken = rows_of(self._survivors, self._rule, self._weights)
        self._left = np.bincount(self._survivors.source, minlength=len(self._sources))
        self._spare *= 2
        return all(
            self._left[n] >= self._wanted[n] or self._read[n] == len(rows)
            for n, rows in enumerate(self._eligible)
        )

    @property
    def lessons(self) -> NDArray[np.int64]:
        """Numbers of the lessons that the traces taken are: of most, one each."""
        return np.concatenate(
            [np.arange(self._starts[row], self._starts[row + 1]) for row in self.taken]
        )

    def account(self) -> Account:
        """What was taken.

        Raises:
            CannotDistill: of some run, nothing.
        """
        taken = self._survivors.taken(self.taken)
        runs = tuple(self._of_run(taken, number) for number in range(len(self._sources)))
        if not all(run.traces for run in runs):
            # with weights, the run of which least is left decides how much of the others is taken
            scarcest = min(range(len(runs)), key=lambda number: self._left[number])
            raise CannotDistill(_nothing_left(runs[scarcest], self._config.select))
        return Account(runs=runs, cut=tuple(self._cut))

    def _on_cut(self, sentence: str) -> None:
        self._cut[sentence] = None

    def _filters(self, source: Source) -> FiltersConfig:
        return self._config.teachers.get(source.name, self._config.filters)

    def _candidates(self) -> Rows:
        found = [np.zeros(0, np.int64)]
        for number, rows in enumerate(self._eligible):
            most = math.ceil(self._spare * self._wanted[number])
            rule = self._rule.model_copy(
                # as many as there are means all: 0 would mean no limit anyway
                update={"most_traces": min(most, len(rows)) or 1, "most_tokens": 0}
            )
            found.append(rows[rows_of(self._index.taken(rows), rule)])
        return np.concatenate(found)

    def _lessons(
        self, candidates: Index, survivors: list[int], starts: list[int]
    ) -> Iterator[Lesson]:
        """Lessons of the candidates that survive; which those are, and where each one's begin."""
        places = {source.name: n for n, source in enumerate(self._sources)}
        for trace in read_traces(
            self._sources, candidates, dropped=self._dropped, on_cut=self._on_cut
        ):
            number = places[trace.name.rpartition(":")[0]]
            if self._sieves[number].drops(trace):
                continue
            lessons = self._tellers[number].lessons(trace)
            if any(len(lesson.token_ids) > self._columns for lesson in lessons):
                self._too_long[number].add(trace)
                continue
            survivors.append(trace.row)
            starts.append(starts[-1] + len(lessons))
            yield from lessons

    def _of_run(self, taken: Index, number: int) -> Taken:
        source, steps = self._sources[number], self._steps[number]
        counts = {**self._sieves[number].counts, "too_long": self._too_long[number]}
        own = taken.source == number
        return Taken(
            name=source.name,
            run=str(source.run),
            weight=source.weight,
            first_step=steps[0],
            last_step=steps[-1],
            num_steps=len(steps),
            stored=int((self._index.source == number).sum()),
            passed=len(self._eligible[number]),
            read=int(self._read[number]),
            prompts=len(np.unique(taken.prompt[own])),
            traces=int(own.sum()),
            tokens=int(taken.tokens[own].sum()),
            dropped={name: count.dropped for name, count in counts.items() if count.dropped},
            examples={name: count.examples for name, count in counts.items() if count.dropped},
        )


def _nothing_left(run: Taken, rule: SelectConfig) -> str:
    where = f"the {run.stored} traces of {run.run} in steps {run.first_step} to {run.last_step}"
    if not run.passed:
        return (
            f"none of {where} passed: widen select.window (it is {list(rule.window)}), or set "
            'select.outcomes = "all".'
        )
    by_count = Counter(run.dropped).most_common()
    if not by_count:
        return f"none of {where} is taken: raise select.most_traces or select.most_tokens."
    took = ", ".join(f"{name} {count}" for name, count in by_count)
    return (
        f"no trace of {where} is left: of {run.read} that were read, filters dropped {took}. "
        f"Loosen the filter {by_count[0][0]} ([filters], or [teachers.{run.name}] for this run)."
    )
