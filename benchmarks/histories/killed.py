"""The same build twice, the second time killed again and again: the same tasks, to the byte.

    python benchmarks/histories/killed.py REPO OUT --kills 5 --limit 8 --jobs 2

OUT/once is built in one go. OUT/killed is killed (SIGKILL) at random moments of its journal, told
to --resume each time, and in the end left alone. Prints how many candidates were done at each kill;
what differs; candidates lost, or settled twice; processes that outlived their build. Exit status 1
where there is any of these.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from munro.envs.swe.folder import LAYERS
from munro.envs.swe_build.git import walk
from munro.envs.swe_build.journal import DROPPED, KEPT, NAME

MUNRO = "import sys; from munro.machine.cli.main import munro; munro(sys.argv[1:])"
GONE_S = 20.0
"""Boxes of a process that was killed have so long to end."""
PART = 0.75
"""Of the journal's lines, over which the kills are spread."""
LOOK_S = 0.05
MOST_LATER_S = 3.0


@dataclass(slots=True)
class Story:
    """What came of a build that was killed."""

    done: list[int] = field(default_factory=list)
    """Candidates settled at each kill."""
    left: int = 0
    """Processes that outlived their build."""


def command(repo: Path, out: Path, options: Sequence[str]) -> list[str]:
    """A build as a process of its own; `--resume` where one was begun."""
    more = ["--resume"] if (out / NAME).is_file() else []
    words = ["swe", "build", str(repo), "--out", str(out), *options, *more]
    return [sys.executable, "-c", MUNRO, *words]


def build(repo: Path, out: Path, options: Sequence[str]) -> str:
    """Build to the end; returns what it printed.

    Raises:
        SystemExit: it failed.
    """
    done = subprocess.run(command(repo, out, options), capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1) or not (out / NAME).is_file():
        sys.exit(f"the build in {out} failed: {(done.stderr or done.stdout)[-500:]}")
    return done.stdout


def killed(
    repo: Path,
    out: Path,
    options: Sequence[str],
    kills: int,
    lines: int,
    seed: int,
    later_s: float = MOST_LATER_S,
) -> Story:
    """Build with so many kills, each when the journal has grown by some lines, and about half when
    one more candidate was settled.

    By the journal and not by a clock: the second of two builds finds packages and pages at hand
    that the first had to wait for.

    Args:
        lines: of the journal of a build that nothing disturbs.
        later_s: at most from the line that a kill waits for to the kill.

    Raises:
        SystemExit: it was through before it had been killed so often.
    """
    story, chance = Story(), random.Random(seed)
    most = max(1, int(PART * lines / kills))
    while len(story.done) < kills:
        process = subprocess.Popen(
            command(repo, out, options),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        lines_then = num_lines(out) + chance.randint(1, most)
        ended_then = len(ends(out)) + chance.randint(0, 1)
        while process.poll() is None and (
            num_lines(out) < lines_then or len(ends(out)) < ended_then
        ):
            time.sleep(LOOK_S)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=chance.uniform(0, later_s))
        if process.poll() is not None:
            sys.exit(f"the build was through after {len(story.done)} kills: name a larger --limit")
        story.left += _kill(process)
        story.done.append(len(ends(out)))
    build(repo, out, options)
    return story


def num_lines(out: Path) -> int:
    """Of a build's journal."""
    place = out / NAME
    return place.read_bytes().count(b"\n") if place.is_file() else 0


def _kill(process: subprocess.Popen[bytes]) -> int:
    """Kill a build alone, as the kernel does where memory is short; what of it is there later."""
    family = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(family, timeout=GONE_S)
    return len(alive)


def rows(out: Path) -> Iterator[tuple[str, str]]:
    """(candidate, how it ended), a pair for each line that settles one."""
    place = out / NAME
    for line in place.read_bytes().splitlines() if place.is_file() else ():
        try:
            row = json.loads(line)
        except ValueError:  # cut off by a kill
            continue
        if row.get("outcome") in (KEPT, DROPPED):
            yield row["candidate"], " ".join([row["outcome"], row["stage"], row.get("reason", "")])


def ends(out: Path) -> dict[str, str]:
    """How each candidate ended."""
    return dict(rows(out))


def digests(out: Path) -> dict[str, str]:
    """Of every file of every task, and what layers there are for them."""
    named = {f"{LAYERS}/{path.name}": "" for path in (out / LAYERS).iterdir()}
    return named | {
        path.relative_to(out).as_posix(): f"{path.stat().st_mode:o} "
        + hashlib.sha256(path.read_bytes()).hexdigest()
        for task in sorted(out.glob("*/task.toml"))
        for path in walk(task.parent)
        if path.is_file()
    }


def faults(once: Path, again: Path, story: Story) -> Iterator[str]:
    """Everything that is not as it should be, a line each."""
    whole, other = digests(once), digests(again)
    for path in sorted(whole.keys() | other.keys()):
        if whole.get(path) != other.get(path):
            yield f"differs: {path}"
    for name, number in sorted(Counter(name for name, _ in rows(again)).items()):
        if number > 1:
            yield f"settled {number} times: {name}"
    first, second = ends(once), ends(again)
    for name in sorted(first.keys() | second.keys()):
        if first.get(name) != second.get(name):
            yield f"{name}: {first.get(name, 'lost')} once, {second.get(name, 'lost')} killed"
    if story.left:
        yield f"{story.left} processes outlived their build"


def main() -> None:
    """Build twice, and compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("repo", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, default=8, help="newest candidates to try")
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    options = ["--limit", str(args.limit), "--jobs", str(args.jobs)]
    if (args.out / "once").exists() or (args.out / "killed").exists():
        sys.exit(f"{args.out} holds builds already: name another OUT")
    began = time.monotonic()
    build(args.repo, args.out / "once", options)
    seconds = time.monotonic() - began
    kept = sum(end.startswith(KEPT) for end in ends(args.out / "once").values())
    print(f"once: {len(ends(args.out / 'once'))} candidates, {kept} kept, {seconds:.0f} s")
    again = args.out / "killed"
    story = killed(args.repo, again, options, args.kills, num_lines(args.out / "once"), args.seed)
    print(f"killed {args.kills} times, with {', '.join(map(str, story.done))} candidates done")
    found = list(faults(args.out / "once", again, story))
    for line in found:
        print(line)
    same = len(digests(again))
    print(json.dumps({"kills": args.kills, "files": same, "kept": kept, "faults": len(found)}))
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
