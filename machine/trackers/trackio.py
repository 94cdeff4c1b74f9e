"""A run of trackio, by the run's own name, which goes on when ours is resumed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from munro.machine.run.accelerated import PROJECT, Accelerated


class Trackio(Accelerated):
    """Where trackio keeps it (a folder here, or a Space) stays with trackio."""

    needs: ClassVar = "trackio"

    def __init__(self, run: Path, *, config: Mapping[str, Any], **_: Any) -> None:
        options = {
            "run_name": PROJECT,
            "name": run.resolve().name,
            "resume": "allow",
            "config": dict(config),
        }
        super().__init__("trackio", run, options=options)
