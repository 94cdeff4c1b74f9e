"""What several builds of tasks came to: a line each, and all together.

    python benchmarks/histories/yields.py tasks/boltons tasks/toolz ...

Counts alone: candidates, those whose tests run, those with stable fail-to-pass tests, those kept;
the share of fail-to-pass tests that have twins; the share of slightly wrong fixes that tests
notice; tasks the git history in whose box is closed, proven anew.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from munro.envs.swe import folders_in
from munro.envs.swe.folder import LAYERS, read_folder
from munro.envs.swe_build.journal import DROPPED, KEPT, NAME, STAGES
from munro.envs.swe_tasks.check import history_of


@dataclass(frozen=True, slots=True)
class Yield:
    """Counts of one build, or of several together."""

    candidates: int = 0
    runnable: int = 0
    stable: int = 0
    kept: int = 0
    closed: int = 0
    """Kept tasks with a closed history."""
    tests: int = 0
    """Fail-to-pass tests of the kept."""
    twinned: int = 0
    noticed: float = 0.0
    """Shares of wrong fixes that were noticed, summed over `measured` tasks."""
    measured: int = 0

    def __add__(self, other: Yield) -> Yield:
        return Yield(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(Yield)))

    def line(self, name: str) -> str:
        """For a person."""
        return (
            f"{name:<24}{self.candidates:>6}{self.runnable:>10}{self.stable:>8}"
            f"{_share(self.stable, self.runnable):>8}{self.kept:>6}{self.closed:>8}"
            f"{self.tests:>7}{_share(self.twinned, self.tests):>8}"
            f"{_share(self.noticed, self.measured):>9}"
        )


HEAD = (
    f"{'build':<24}{'tried':>6}{'runnable':>10}{'stable':>8}{'share':>8}{'kept':>6}{'closed':>8}"
    f"{'tests':>7}{'twins':>8}{'noticed':>9}"
)


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.1%}" if whole else "-"


def yield_of(build: Path) -> Yield:
    """The counts of one build, from its journal and its folders."""
    ends: dict[str, str] = {}
    for line in (build / NAME).read_text().splitlines():
        row = json.loads(line)
        if row.get("outcome") in (KEPT, DROPPED):
            ends[row["candidate"]] = KEPT if row["outcome"] == KEPT else row["stage"]

    def reached(stage: str) -> int:
        later = {*STAGES[STAGES.index(stage) + 1 :], KEPT}
        return sum(end in later for end in ends.values())

    found = Yield(reached("candidates"), reached("suite runs"), reached("stable"), reached("kept"))
    if not found.kept:
        return found
    for folder in folders_in(build):
        task = read_folder(folder)
        having = {name for twin in task.twins for name in twin.must_fail}
        strength = task.provenance["proof"]["strength"]
        found += Yield(
            closed=int(not history_of(task, build / LAYERS)),
            tests=len(task.fail_to_pass),
            twinned=sum(name in having for name in task.fail_to_pass),
            noticed=strength or 0.0,
            measured=int(strength is not None),
        )
    return found


def table(builds: Sequence[Path]) -> Iterator[str]:
    """A line for each build, and one for all."""
    yield HEAD
    every = Yield()
    for build in builds:
        found = yield_of(build)
        every += found
        yield found.line(build.name)
    yield every.line("together")


def main() -> None:
    """The table of the builds that the command line names."""
    builds = [Path(word) for word in sys.argv[1:]]
    if not builds:
        sys.exit("usage: python benchmarks/histories/yields.py BUILD ...")
    for build in builds:
        if not (build / NAME).is_file():
            sys.exit(f"{build} holds no {NAME}: it is no folder of a build")
    for line in table(builds):
        print(line)


if __name__ == "__main__":
    main()
