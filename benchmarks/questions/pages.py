"""Pages a second and memory of parse, outline, mark and pair, by rules, as a build does them.

    python benchmarks/questions/pages.py --pages 10000

Made books in two columns with running heads, and as many lines of plain text, bound into one PDF of
so many pages, which is the worst case for memory: stages hold a document whole. Seconds are of CPU,
of the build and of the children that read the file together, so that they hold beside other work;
start-up is in them. Memory is the peak of the build's process and of its largest child. Demanded
are 100 pages a second and core, and 10,000 pages under 1 GB. `--text 0` binds exercises alone, 29
to a page. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from munro.questions.build import build  # noqa: E402
from munro.questions.config import QuestionsConfig  # noqa: E402
from tests.questions import books, pdfs  # noqa: E402

PROSE = "It goes without saying that this does not depend on"
LAYOUTS = ("end", "chapter", "packed", "parts", "beside")


def main() -> None:
    """Make the file, build in a process of its own, print what it took."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--pages", type=int, default=1000)
    options.add_argument("--folder", type=Path, default=None, help="that has the file already")
    options.add_argument("--text", type=float, default=0.5, help="share of lines that are text")
    options.add_argument("--build", action="store_true", help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.build:
        print(json.dumps(measured(given.folder)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.folder or Path(scratch)
        bind(folder / "book.pdf", given.pages, given.text)
        done = subprocess.run(
            [sys.executable, __file__, "--build", "--folder", str(folder)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    if done.returncode:
        sys.exit(done.stderr)
    found = json.loads(done.stdout.splitlines()[-1])
    a_second = given.pages / found["cpu_s"]
    print(
        f"{given.pages:,} pages: {found['cpu_s']:.1f} s of CPU, {a_second:.0f} pages a second and "
        f"core; {found['rss_mb']:,} MB, and {found['child_mb']:,} MB in a child; "
        f"{found['pairs']:,} pairs"
    )
    print(
        json.dumps(
            {"benchmark": "questions_pages", "text": given.text, "pages": given.pages, **found}
        )
    )


def bind(file: Path, count: int, text: float) -> None:
    """One PDF of so many pages, of books one after another."""
    if file.exists():
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    shelf = [
        books.book(layout, seed, chapters=6, count=60, width=50)
        for seed in range(4)
        for layout in LAYOUTS
    ]
    lines: list[str] = []
    at, per = 0, 2 * books.PER_PAGE
    while len(lines) < count * per:
        book = [line for line in shelf[at % len(shelf)].lines if line]
        wanted = round(len(book) * text / (1 - text))
        lines += [*(f"{PROSE} {word}." for word in range(wanted)), *book]
        at += 1
    pages = [
        pdfs.columns(lines[number * per : (number + 1) * per], f"A Shelf {number}", number, count=2)
        for number in range(count)
    ]
    pdfs.write(file, pages)


def measured(folder: Path) -> dict[str, float]:
    """A build up to its pairs, in this process."""
    with tempfile.TemporaryDirectory() as out:
        sources = [{"name": "books", "paths": [str(folder / "book.pdf")]}]
        plan = {"out": f"{out}/questions", "sources": sources, "workers": 1}
        levels = build(QuestionsConfig.model_validate(plan), until="pair")
    ours = resource.getrusage(resource.RUSAGE_SELF)
    theirs = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "cpu_s": ours.ru_utime + ours.ru_stime + theirs.ru_utime + theirs.ru_stime,
        "child_cpu_s": theirs.ru_utime + theirs.ru_stime,
        "rss_mb": ours.ru_maxrss // 1024,
        "child_mb": theirs.ru_maxrss // 1024,
        "pairs": levels[-1].kept,
    }


if __name__ == "__main__":
    main()
