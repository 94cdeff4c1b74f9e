"""A run of MLflow that goes on under the same id when ours is resumed.

Where MLflow keeps it (`MLFLOW_TRACKING_URI`), and under which experiment (`MLFLOW_EXPERIMENT_NAME`,
munro unless given), stays with MLflow.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from munro.machine.run.accelerated import PROJECT, Accelerated, once_known, remember


class MLflow(Accelerated):
    """Its id is kept in the run's folder."""

    needs: ClassVar = "mlflow"

    def __init__(self, run: Path, **_: Any) -> None:
        file = run / "mlflow.id"
        options = {
            "experiment_name": PROJECT,
            "run_name": run.resolve().name,
            "run_id": once_known(file),
        }
        super().__init__("mlflow", run, options=options)
        remember(file, self.tracker.active_run.info.run_id)
