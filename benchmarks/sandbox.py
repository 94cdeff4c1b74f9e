"""Executions per second: sandboxed Python, warm and cold, against bare `subprocess.run([python])`.

All sides run the same snippets with the same interpreter on the same number of threads, and take
turns; medians over rounds are printed, and their ratios to the bare one. What they print must be
equal. Docker takes part where an engine answers and has the image; it runs fewer of them a round.

    python benchmarks/sandbox.py [--rounds 7] [--runs 60] [--workers 2] [--image NAME] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import cycle, islice
from pathlib import Path

from munro.rewards import sandbox
from munro.rewards.errors import SandboxError
from munro.rewards.sandbox import Limits, Sandbox

WANTED_RATIO = 3.0
DOCKER_SHARE = 10
"""A round of Docker is this many times shorter."""
LIMITS = Limits(cpu_s=10, wall_s=30)

SNIPPETS = {
    "two numbers": "a, b = map(int, input().split())\nprint(a + b)\n",
    "a sieve": (
        "n = 2000\nis_prime = [True] * n\n"
        "for i in range(2, n):\n"
        "    if is_prime[i]:\n"
        "        for j in range(i * i, n, i):\n"
        "            is_prime[j] = False\n"
        "print(sum(is_prime) - 2)\n"
    ),
    "usual imports": (
        "import collections, heapq, itertools, json, math, re\n"
        "words = re.findall(r'[a-z]+', 'the cat and the dog and the bird')\n"
        "print(json.dumps(collections.Counter(words).most_common(2)), math.gcd(12, 18))\n"
    ),
    "a function and its tests": (
        "def f(xs):\n    return sorted(set(xs))\n"
        "assert f([3, 1, 3]) == [1, 3]\nassert f([]) == []\nprint('ok')\n"
    ),
}
STDIN = "17 25\n"

Run = Callable[[str], bytes]
"""Source to what it printed."""


def bare(folder: Path) -> Run:
    """A plain interpreter on a file, with no isolation at all."""
    python = sys._base_executable  # type: ignore[attr-defined]
    paths = {}
    for name, source in SNIPPETS.items():
        path = folder / f"{name.replace(' ', '_')}.py"
        path.write_text(source)
        paths[source] = str(path)

    def run(source: str) -> bytes:
        command = [python, paths[source]]
        return subprocess.run(command, input=STDIN.encode(), capture_output=True, check=True).stdout

    return run


def warm(box: Sandbox) -> Run:
    """As a grader runs Python."""
    return lambda source: box.run_python(source, stdin=STDIN).stdout


def cold(box: Sandbox) -> Run:
    """As it runs any other command."""
    command = ["python3", "main.py"]
    return lambda source: box.run(command, files={"main.py": source}, stdin=STDIN).stdout


def rate(run: Run, num_runs: int, workers: ThreadPoolExecutor) -> float:
    """Executions per second.

    Raises:
        SystemExit: a snippet printed something else than it should.
    """
    sources = list(islice(cycle(SNIPPETS.values()), num_runs))
    start = time.perf_counter()
    printed = list(workers.map(run, sources))
    seconds = time.perf_counter() - start
    for source, output in zip(sources, printed, strict=True):
        if output != EXPECTED[source]:
            sys.exit(f"printed {output!r} instead of {EXPECTED[source]!r}")
    return num_runs / seconds


EXPECTED = dict(
    zip(
        SNIPPETS.values(),
        (b"42\n", b"303\n", b'[["the", 3], ["and", 2]] 6\n', b"ok\n"),
        strict=True,
    )
)


def main() -> None:
    """Print a table of medians and the ratio that counts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--runs", type=int, default=60, help="executions of each side a round")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--image", default="munro-sandbox", help="of the Docker side")
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    options = parser.parse_args()

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        workers = stack.enter_context(ThreadPoolExecutor(options.workers))
        box = stack.enter_context(sandbox.open("namespaces", LIMITS))
        sides = {"bare": (bare(folder), options.runs)}
        sides["warm"] = (warm(box), options.runs)
        sides["cold"] = (cold(box), options.runs)
        try:
            container = stack.enter_context(sandbox.open("docker", LIMITS, image=options.image))
            sides["docker"] = (warm(container), max(options.runs // DOCKER_SHARE, 2))
        except SandboxError as missing:
            print(f"without Docker: {missing}")
        rates: dict[str, list[float]] = {name: [] for name in sides}
        for number in range(options.rounds + 1):
            for name, (run, num_runs) in sides.items():
                once = rate(run, num_runs, workers)
                if number:  # the first round only warms up
                    rates[name].append(once)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    print(f"{'side':<10}{'runs/s':>10}{'to bare':>10}    lowest .. highest")
    for name, median in medians.items():
        spread = f"{min(rates[name]):.0f} .. {max(rates[name]):.0f}"
        print(f"{name:<10}{median:>10.1f}{median / medians['bare']:>10.2f}    {spread}")
    ratio = medians["warm"] / medians["bare"]
    figures = {"ratio": ratio, "workers": options.workers, "runs_per_s": medians}
    print(json.dumps(figures))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2))
    if ratio < WANTED_RATIO:
        sys.exit(f"warm is {ratio:.1f} times bare, below the {WANTED_RATIO:g} it must reach")


if __name__ == "__main__":
    main()
