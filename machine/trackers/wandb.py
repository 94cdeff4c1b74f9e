"""A run of Weights & Biases that goes on under the same id when ours is resumed.

What W&B is told by its own environment variables (mode, entity, key) stays with W&B.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from munro.machine.run.accelerated import PROJECT, Accelerated, once_known, remember


class WeightsAndBiases(Accelerated):
    """Its id is kept in the run's folder."""

    needs: ClassVar = "wandb"

    def __init__(self, run: Path, *, config: Mapping[str, Any], **_: Any) -> None:
        file = run / "wandb.id"
        options = {
            "run_name": PROJECT,
            "name": run.resolve().name,
            "dir": str(run),
            "id": once_known(file),
            "resume": "allow",
            "config": dict(config),
        }
        super().__init__("wandb", run, options=options, as_they_are=True)
        remember(file, self.tracker.run.id)
