"""Trainings killed by signal 9 and resumed: run with a folder and a kind; see `test_killed`."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from pathlib import Path

from munro.base_model.training.goodput import LEDGER, Ledger
from munro.base_model.training.pretrain import Measuring, StepMetrics, pretrain
from tests.base_model.builders import small_tokenizer
from tests.base_model.trainable import corpus, maker, training

KILLED_AFTER = (3, 5, 11)
"""Steps: before the first checkpoint, while it is being written, and after the second."""


def train(folder: Path, kind: str, kill_after: int) -> None:
    """Train to the end, or to the step after which this process kills itself."""

    def watch(metrics: StepMetrics) -> None:
        if metrics.step == kill_after:
            os.kill(os.getpid(), signal.SIGKILL)

    folder.mkdir(parents=True, exist_ok=True)
    ledger = Ledger(folder / LEDGER)
    ledger.begin()
    pretrain(
        maker(kind),
        small_tokenizer(),
        corpus(),
        training(balance=0.01),
        folder=folder,
        on_metrics=watch,
        measuring=Measuring(ledger=ledger),
    )


def main() -> None:
    """Fork each process after the imports, which cost far more than the work."""
    context = multiprocessing.get_context("fork")
    runs = [("whole", 0)]
    runs += [(f"killed-{at}", kill) for at in KILLED_AFTER for kill in (at, 0)]
    for name, kill_after in runs:
        arguments = (Path(sys.argv[1]) / name, sys.argv[2], kill_after)
        child = context.Process(target=train, args=arguments)
        child.start()
        child.join()
        expected = -signal.SIGKILL if kill_after else 0
        assert child.exitcode == expected, (name, child.exitcode)


if __name__ == "__main__":
    main()
