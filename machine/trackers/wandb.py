"""A run of Weights & Biases that goes on under the same id when ours is resumed.

What W&B is told by its own environment variables (mode, entity, key) stays with W&B.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from munro.machine.run.files import explained


class WeightsAndBiases:
    """Its id is kept in the run's folder."""

    needs: ClassVar = "wandb"

    def __init__(self, run: Path, *, config: Mapping[str, Any], **_: Any) -> None:
        import wandb

        id_file = run / "wandb.id"
        run_id = id_file.read_text(encoding="utf-8") if id_file.exists() else None
        self._run: Any = wandb.init(
            project="munro",
            name=run.resolve().name,
            dir=str(run),
            id=run_id,
            resume="allow",
            config=dict(config),
        )
        with explained(id_file):
            id_file.write_text(str(self._run.id), encoding="utf-8")

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """One point of every curve."""
        self._run.log(dict(metrics), step=step)

    def close(self) -> None:
        """Wait until W&B has it all."""
        self._run.finish()
