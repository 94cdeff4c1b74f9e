"""Ten thousand gradings of every kind, poison among them, while graders are killed.

    python benchmarks/grading.py --num 10000 --kill-every 5

Prints a table: what was asked, graded and refused, and whether any verdict was wrong.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.rewards.graders import POINTS
from tests.rewards.mixed import mixture, run
from tests.rewards.plugged import installed


def main() -> int:
    """Exit status 1 if a verdict was wrong or a grading was lost."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--num", type=int, default=10_000)
    parser.add_argument("--poisoned", type=float, default=0.05, help="share of the inputs")
    parser.add_argument("--kill-every", type=float, default=5.0, help="seconds")
    parser.add_argument("--timeout-s", type=float, default=2.0, help="CPU seconds of one grading")
    given = parser.parse_args()

    inputs = mixture(given.num, poisoned=given.poisoned)
    with tempfile.TemporaryDirectory() as folder:
        sys.path.append(str(installed(Path(folder), "munro.graders", **POINTS)))
        report = run(inputs, every_s=given.kill_every, timeout_s=given.timeout_s)
    print("\n".join(report.table()))
    for name, value in report.metrics.items():
        if name.endswith(("queue_s", "per_s", "/seconds")):
            print(f"  {name:<32}{value:10.3f}")
    result = {
        "gradings": len(report.outcomes),
        "seconds": round(report.seconds, 1),
        "kills": report.kills,
        "wrong": len(report.wrong),
        "healthy_without_a_grade": len(report.unlucky),
        "lost": given.num - len(report.outcomes),
    }
    print(json.dumps(result))
    return int(bool(report.wrong) or result["lost"] > 0)


if __name__ == "__main__":
    sys.exit(main())
