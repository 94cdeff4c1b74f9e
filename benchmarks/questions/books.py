"""Made books whose pairs are known, through parse, outline, mark, pair and curate by rules alone.

    python benchmarks/questions/books.py
    python benchmarks/questions/books.py --seeds 5      # that many books of each layout and width

Sixteen layouts, each in one and in two columns with running heads, as PDF; exercises are cut where
a page ends. Of each: exercises that were found whole, pairs that are kept and right, such as are
wrong, a shifted chapter's that went by in silence, and texts that are not the document's own. Ends
with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.questions.figures.measures import (  # noqa: E402
    LAYOUTS,
    MISLEADING,
    book,
    measured,
    pages,
)


def main() -> None:
    """Print a line for each layout, and the whole."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--seeds", type=int, default=1)
    options.add_argument("--first", type=int, default=0, help="seed")
    given = options.parse_args()
    total: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for layout in (*LAYOUTS, *MISLEADING):
            one: Counter[str] = Counter()
            for seed in range(given.first, given.first + given.seeds):
                for columns in (1, 2):
                    made = book(layout, seed, columns, chapters=4, count=40)
                    one.update(measured(made, pages(made, Path(folder) / "book.pdf", columns)))
            total.update(one)
            print(f"{layout:<10}{told(one)}", flush=True)
    print(f"{'all':<10}{told(total)}")
    print(json.dumps({"benchmark": "questions_books", **total}))


def told(one: Counter[str]) -> str:
    """The figures on a line."""
    return (
        f"exercises {one['whole']} of {one['exercises']}, {one['no exercises']} that are none; "
        f"pairs {one['right']} right of {one['answered']}, {one['wrong']} wrong, "
        f"{one['need a judge']} need a judge, {one['refers elsewhere']} refer elsewhere; "
        f"shifted {one['shifted']}, in silence {one['shifted, silent']}; lost {one['lost']}; "
        f"not verbatim {one['not verbatim']}"
    )


if __name__ == "__main__":
    main()
