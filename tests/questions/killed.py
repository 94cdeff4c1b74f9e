"""A build killed by signal 9 after each few files it writes, and begun again; see `test_build`."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from pathlib import Path

import pyarrow.parquet  # noqa: F401 - which every build would import anew

from munro.questions import tables
from munro.questions.build import build
from munro.questions.config import QuestionsConfig

FIRST, SAME = 3, 5
"""Files until the first death, and deaths until it takes a file more."""


def run(out: str, sources: str, die_at: int) -> None:
    """Build to the end, or until so many files are written: then die, every other time before the
    last of them is in its place."""
    written = 0
    replace = os.replace

    def counted(draft: Path, file: Path) -> None:
        nonlocal written
        written += 1
        if written == die_at and os.getpid() % 2:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(draft, file)
        if written == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    tables.os.replace = counted  # type: ignore[attr-defined]
    build(
        QuestionsConfig.model_validate(
            {"out": out, "sources": [{"name": "s", "paths": [sources]}], "workers": 1}
        )
    )


def main() -> None:
    """Fork each process after the imports, which cost far more than the work."""
    folder, sources = Path(sys.argv[1]), sys.argv[2]
    context = multiprocessing.get_context("fork")
    deaths = 0
    for name, kill in (("whole", False), ("killed", True)):
        for attempt in range(60):
            die_at = FIRST + attempt // SAME if kill else 0
            child = context.Process(target=run, args=(str(folder / name), sources, die_at))
            child.start()
            child.join()
            if child.exitcode == 0:
                break
            assert child.exitcode == -signal.SIGKILL, child.exitcode
            deaths += 1
        else:
            raise AssertionError("it came to no end")
    (folder / "deaths").write_text(str(deaths))


if __name__ == "__main__":
    main()
