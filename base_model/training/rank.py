"""One rank of a phase, as `launch` starts it: `python -m munro.base_model.training.rank`.

Standard output carries lines of JSON: the metrics, of the first rank, or the sentence of an error.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from dataclasses import asdict
from pathlib import Path

from munro.base_model.training.phases import RECIPE, train_phase
from munro.base_model.training.recipe import PretrainRecipe
from munro.base_model.training.run_log import StepMetrics
from munro.base_model.training.sharding import Ranks


def run(folder: Path, phase: str) -> None:
    """Take part in the phase until it is finished."""
    from torch import distributed

    recipe = PretrainRecipe.model_validate_json((folder / RECIPE).read_text(encoding="utf-8"))
    train_phase(recipe, folder, phase, world=Ranks(bfloat16=False), on_metrics=_tell)
    distributed.destroy_process_group()


def main() -> int:
    """Exit status 2 where a person can mend what went wrong."""
    _die_with_the_launcher()
    try:
        run(Path(sys.argv[1]), sys.argv[2])
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if not getattr(type(error), "is_sentence", False):
            raise
        _write({"error": str(error)})
        return 2
    return 0


def _tell(metrics: StepMetrics) -> None:
    _write(asdict(metrics))


def _write(line: object) -> None:
    # one write each: several ranks share the pipe
    os.write(sys.stdout.fileno(), json.dumps(line).encode() + b"\n")


def _die_with_the_launcher() -> None:
    """A launcher that is killed must not leave ranks behind that go on writing checkpoints."""
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
