"""How long a study of 1,276 tasks and 3 raters takes to load, and a click to be kept.

    python benchmarks/people/load.py [--characters 2000]

CPU time of this process; a click is counted with its flush to the disk in wall time as well.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from munro.evaluation.sides.desk import Desk  # noqa: E402
from munro.evaluation.sides.journal import Journal  # noqa: E402
from munro.evaluation.sides.ratings import read_ratings  # noqa: E402
from munro.evaluation.sides.report import report_of  # noqa: E402
from munro.evaluation.sides.study import CLICKS, Asked  # noqa: E402
from tests.evaluation.sides.studies import honest, rate, study, texts  # noqa: E402

TASKS = 1276


def main() -> None:
    """Print what each part takes."""
    parser = argparse.ArgumentParser(description="loading a study")
    parser.add_argument("--characters", type=int, default=2000, help="of an answer")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        words = args.characters // 6
        a, b = texts(TASKS, 1, words), texts(TASKS, 2, words)
        made = study(Path(folder), a=a, b=b, criteria=("right",), checks=0.03, again=0.05)
        size = sum(file.stat().st_size for file in made.iterdir())
        began = time.process_time()
        asked = Asked.read(made)
        print(f"{TASKS} tasks, 3 raters, {size / 1e6:.1f} MB: read in {_ms(began)} ms of CPU")
        looks = sum(len(own) for own in asked.lists.values())
        with patch("munro.evaluation.sides.journal.os.fsync"):
            rate(made, honest())
        began = time.process_time()
        Desk(Asked.read(made), Journal(made / CLICKS))
        clicks = len((made / CLICKS).read_text().splitlines())
        print(f"all {looks} looks rated, {clicks} clicks: back in {_ms(began)} ms of CPU")
        began = time.process_time()
        report_of(read_ratings(made))
        print(f"the report of it: {_ms(began)} ms of CPU")


def _ms(began: float) -> int:
    return round(1000 * (time.process_time() - began))


if __name__ == "__main__":
    main()
