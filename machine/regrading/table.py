"""What came of grading a run again, for a person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from statistics import fmean

from rich.console import Console
from rich.table import Table
from rich.text import Text

from munro.machine.regrading.kept import Regraded
from munro.machine.run.console import printable

COLUMNS = (
    "attempts", "not graded", "passed before", "passed now", "now fail", "now pass", "other reward",
)  # fmt: skip
MOST_REASONS = 6
MOST_LETTERS = 160


def show(rows: Iterable[Regraded], console: Console | None = None) -> None:
    """The table, a line an environment, and why attempts have no grade."""
    console = console or Console()
    rows = list(rows)
    table = Table(title_justify="left")
    table.add_column("environment")
    for name in COLUMNS:
        table.add_column(name, justify="right")
    names = sorted({row.env for row in rows})
    for name in names:
        table.add_row(Text(printable(name)), *_cells([row for row in rows if row.env == name]))
    if len(names) > 1:
        table.add_row("all", *_cells(rows))
    console.print(table)
    for line in _reasons(rows):
        # an environment's words, and what a model wrote may be among them: no markup
        console.print(Text(printable(line)), soft_wrap=True)


def _cells(rows: list[Regraded]) -> list[str]:
    graded = [row for row in rows if row.new]

    def share(which: str) -> str:
        values = [float(getattr(row, which)["solved"]) for row in graded]
        return f"{fmean(values):.3f}" if values else ""

    return [
        f"{len(rows):,}",
        f"{len(rows) - len(graded):,}",
        share("old"),
        share("new"),
        f"{sum(row.flipped and row.old['solved'] for row in graded):,}",
        f"{sum(row.flipped and row.new['solved'] for row in graded):,}",
        f"{sum(row.changed and not row.flipped for row in graded):,}",
    ]


def _reasons(rows: list[Regraded]) -> Iterator[str]:
    failed = [row for row in rows if not row.new]
    counts = Counter(row.why for row in failed)
    for why, number in counts.most_common(MOST_REASONS):
        first = next(row for row in failed if row.why == why)
        short = why if len(why) <= MOST_LETTERS else f"{why[:MOST_LETTERS]}..."
        yield f"not graded: {number:,} attempts: {short} (first {first.env}/{first.task})"
    if len(counts) > MOST_REASONS:
        yield f"and {len(counts) - MOST_REASONS} other reasons, in grades.jsonl"
