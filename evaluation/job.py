"""One run of somebody's harness against an address, and what a harness of a kind must tell.

    job ──► harness.command ──► a process ──► its logs ──► harness.rows ──► attempts

Every kind is one file of `munro.evaluation.harness`. It knows a command line and a format of logs;
runs, seeds, the check that runs differ, and all statistics are ours.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from munro.evaluation.types import AttemptRow


class BadHarness(ValueError):
    """A harness that did not do what was asked of it; one sentence."""

    is_sentence = True


class NoSamples(BadHarness):
    """It left nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run.

    Example:
        Job(
            tasks=("sums",), run=0, seed=7, base_url="http://127.0.0.1:8000/v1", model="step-40",
            folder=Path("evals/sums/harness/run-0"),
        )
    """

    tasks: tuple[str, ...]
    """As the harness names them: tasks of lm-eval, files of inspect."""
    run: int
    seed: int
    base_url: str
    model: str
    """Its name at the address."""
    folder: Path
    """For the harness's own logs."""
    temperature: float = 1.0
    top_p: float = 0.97
    max_tokens: int = 1024
    limit: int = 0
    """Samples of each task; 0 for all."""
    concurrent: int = 16
    """Requests at once."""
    include: str = ""
    """Folder of task files of the user's own, where the harness takes one."""
    options: tuple[str, ...] = ()
    """Further words for its command line."""


class Harness(ABC):
    """One kind."""

    module: str
    """That is run: `python -m MODULE`."""
    distribution: str
    """Whose version is told."""
    key_variable: str
    """Of the environment, for the address's key."""

    @abstractmethod
    def command(self, job: Job) -> list[str]:
        """What follows `python -m MODULE`."""

    def variables(self, job: Job) -> Mapping[str, str]:  # noqa: ARG002 - most need none
        """Of the environment, beside the key."""
        return {}

    def refusal(self, tasks: Sequence[str]) -> str:  # noqa: ARG002 - most cannot tell
        """Why these tasks cannot be meant; empty where they may be."""
        return ""

    @abstractmethod
    def rows(self, job: Job) -> list[AttemptRow]:
        """What one run's logs tell, a row for every sample.

        Raises:
            NoSamples: there are none.
        BadHarness: they lack something, or tell what is no score.
        """


def score_of(value: object, where: str) -> float:
    """A number that a harness gave.

    Raises:
        BadHarness: it is none.
    """
    if isinstance(value, bool | int | float) and abs(value) <= sys.float_info.max:
        return float(value)
    shown = repr(value)[:60]
    raise BadHarness(
        f"{where} is {shown}, which is no score of a single sample: mend the task, or leave it out."
    )


def require_whole(harness: str, task: str, found: Sequence[str], expected: int, run: int) -> None:
    """Refuse a task of which a run has too few samples, or one twice.

    Args:
        harness: for the sentence.
        task: of the harness.
        found: names of its samples.
        expected: how many there should be.
        run: for the sentence.

    Raises:
        BadHarness: says how many are missing, or which repeat.
    """
    repeated = [name for name, times in Counter(found).items() if times > 1]
    if repeated:
        raise BadHarness(
            f"{harness} gave sample {repeated[0]!r} of task {task!r} more than once in run {run}: "
            "names of samples must not repeat, for runs are compared by them."
        )
    if len(found) != expected:
        raise BadHarness(
            f"{harness} wrote {len(found)} of {expected} samples of task {task!r} in run {run}: "
            "the rest cannot be counted as wrong. The same command runs it again."
        )
