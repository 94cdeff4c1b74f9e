"""Krippendorff's alpha on his own table, and on two files that three people each rated.

    python benchmarks/people/agreement.py [--pyrit FOLDER]

PyRIT's wheel (MIT) holds 199 and 187 answers that three people each rated for harm, in quarters. It
is downloaded, not installed, and read as files. Exits with 1 where a figure is another.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks.evaluation.judges import HARMS, files_of_pyrit  # noqa: E402
from munro.evaluation.agreement import alpha, alpha_interval  # noqa: E402
from munro.evaluation.judges.labels import read_labels  # noqa: E402
from tests.evaluation.test_agreement import KRIPPENDORFF  # noqa: E402

KNOWN = {"nominal": 0.7434, "ordinal": 0.8154, "interval": 0.8491}
HARM = dict(zip(HARMS, (0.861, 0.766), strict=True))


def main() -> int:
    """Print each figure beside the known one."""
    parser = argparse.ArgumentParser(description="agreement on published tables")
    parser.add_argument("--pyrit", type=Path, help="folder of the unpacked wheel")
    args = parser.parse_args()
    wrong = 0
    for level, known in KNOWN.items():
        found = alpha(KRIPPENDORFF, level)
        wrong += abs(found - known) > 5e-5
        print(f"Krippendorff's table, {level:<8} {found:.4f}, known {known}")
    with tempfile.TemporaryDirectory() as folder:
        place = files_of_pyrit(args.pyrit, Path(folder))
        for name, known in HARM.items():
            labels = read_labels(place / f"{name}.csv")
            found = alpha(labels.ratings, "ordinal")
            wrong += abs(found - known) > 5e-4
            told = alpha_interval(labels.ratings, "ordinal")
            raters, answers = labels.ratings.shape
            print(f"{name}, {raters} raters, {answers} answers: {told}, known {known}")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
