"""Event files under the run's folder: `tensorboard --logdir runs` shows every run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from munro.machine.run.accelerated import Accelerated


class TensorBoard(Accelerated):
    """Hides what a run that is resumed had written from its first step on."""

    needs: ClassVar = "tensorboard"

    def __init__(self, run: Path, *, first_step: int, **_: Any) -> None:
        options = {
            "run_name": "tensorboard",
            "logging_dir": str(run),
            "purge_step": first_step,
            "flush_secs": 10,
        }
        super().__init__("tensorboard", run, options=options, as_they_are=True)
