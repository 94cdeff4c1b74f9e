"""Event files under the run's folder: `tensorboard --logdir runs` shows every run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from munro.machine.run.files import explained


class TensorBoard:
    """Hides what a run that is resumed had written from its first step on."""

    needs: ClassVar = "tensorboard"

    def __init__(self, run: Path, *, first_step: int, **_: Any) -> None:
        # imported here, for it brings torch
        from torch.utils.tensorboard import SummaryWriter

        self._folder = run / "tensorboard"
        with explained(self._folder):
            self._writer: Any = SummaryWriter(
                str(self._folder), purge_step=first_step, flush_secs=10
            )

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """One scalar each."""
        with explained(self._folder):
            for name, value in metrics.items():
                self._writer.add_scalar(name, value, step)
            self._writer.flush()

    def close(self) -> None:
        """Flush and close the event file."""
        with explained(self._folder):
            self._writer.close()
