"""Episodes per second of an agent's shell: 20 commands in a repository of 1,000 files.

    munro        a session of the sandbox over the repository as an image
    bubblewrap   mini-swe-agent's environment, with a copy of the repository for each episode
    docker       a container of an image that holds the repository, a `docker exec` for each command
    bare         a copy of the repository and plain subprocesses, with no isolation at all

They take turns, episode by episode; what the commands print must be equal. Printed are medians,
their ratios to ours, and how long a fork of a frozen box with 1,000 changed files takes. A side
that is not there is left out by name: bubblewrap needs `bwrap` and a Python that has mini-swe-agent
(--mini-python), docker an engine that answers.

    python benchmarks/shell.py [--rounds 9] [--mini-python PATH] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from munro.rewards import sandbox
from munro.rewards.sandbox import Image, Limits, Sandbox, layer_of

WANTED_TO_DOCKER, WANTED_TO_BUBBLEWRAP, WANTED_FORK_MS = 5.0, 1.0, 50.0
LIMITS = Limits(cpu_s=60, wall_s=60, processes=64, disk_mb=128)
NUM_FILES = 1000
FORKS = 15
IMAGE = "munro-benchmark-shell"
TOOLS = ("bash", "cat", "grep", "head", "ls", "mkdir", "mv", "rm", "sed", "sh", "sleep", "sort",
         "tail", "touch", "wc")  # fmt: skip
SIDE = Path(__file__).parent / "sides" / "shell_bubblewrap.py"

COMMANDS = [
    "ls | head -5",
    "cat part3/file13.py",
    "grep -rn 'value_777' . | sort",
    "sed -i 's/value_13/value_x/' part3/file13.py && cat part3/file13.py",
    "grep -c return part3/*.py | tail -2",
    "mkdir -p notes && echo begun > notes/log",
    "head -2 part0/file0.py",
    "for n in 1 2 3; do echo $n >> notes/log; done; cat notes/log",
    "wc -l part1/*.py | tail -1",
    "rm part2/file12.py && ls part2 | wc -l",
    "mv part4/file14.py part4/moved.py && ls part4 | grep moved",
    "cat missing 2>/dev/null || echo none",
    "grep -rl value_99 part9 | sort | head -3",
    "sed -n 2p part5/file15.py",
    "touch part6/new.py && ls part6 | wc -l",
    "cat part7/*.py | wc -l",
    "echo 'x = 1' > part8/new.py; cat part8/new.py",
    "ls -a | wc -l",
    "tail -1 part9/file19.py",
    "cat notes/log | sort | head -1",
]
Episode = Callable[[], list[str]]
"""Plays one, from opening to closing; what its commands printed."""


def make_repository(top: Path) -> None:
    """1,000 small files in ten folders."""
    for number in range(NUM_FILES):
        path = top / f"part{number % 10}" / f"file{number}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [f"def f{i}():\n    return value_{number + i}\n" for i in range(20)]
        path.write_text("\n".join(lines))


def munro(box: Sandbox, image: Image) -> Episode:
    """As `munro.envs.shell` runs them."""

    def play() -> list[str]:
        with box.session(image=image) as session:
            return [
                session.run(["bash", "-c", each], clip=True, interleave=True).stdout.decode()
                for each in COMMANDS
            ]

    return play


def bare(repository: Path, folder: Path) -> Episode:
    """A copy, and a process for each command."""

    def play() -> list[str]:
        copy = folder / "copy"
        subprocess.run(["cp", "-a", str(repository), str(copy)], check=True)
        try:
            return [
                subprocess.run(
                    ["bash", "-c", each],
                    cwd=copy, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                ).stdout
                for each in COMMANDS
            ]  # fmt: skip
        finally:
            shutil.rmtree(copy)

    return play


def bubblewrap(python: str, repository: Path, stack: ExitStack) -> Episode:
    """Episodes of mini-swe-agent's environment, played in its own interpreter."""
    side = stack.enter_context(
        subprocess.Popen(
            [python, str(SIDE), str(repository)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "MSWEA_SILENT_STARTUP": "1"},
        )
    )  # fmt: skip
    stack.callback(side.kill)
    assert side.stdin is not None
    assert side.stdout is not None
    talk = side.stdin, side.stdout

    def play() -> list[str]:
        print(json.dumps(COMMANDS), file=talk[0], flush=True)
        printed: list[str] = json.loads(talk[1].readline())
        return printed

    return play


def docker(repository: Path, folder: Path, stack: ExitStack) -> Episode:
    """A container an episode, as agents' environments have it."""
    archive = folder / "image.tar"
    _write_image(archive, repository)
    subprocess.run(["docker", "import", str(archive), IMAGE], check=True, capture_output=True)
    stack.callback(subprocess.run, ["docker", "rmi", "-f", IMAGE], capture_output=True)

    def play() -> list[str]:
        start = ["docker", "run", "-d", "--rm", "--network=none", "-w", "/repo", IMAGE]
        started = subprocess.run([*start, "sleep", "600"], check=True, capture_output=True)
        name = started.stdout.decode().strip()
        try:
            return [
                subprocess.run(
                    ["docker", "exec", "-w", "/repo", name, "bash", "-c", each],
                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                ).stdout
                for each in COMMANDS
            ]  # fmt: skip
        finally:
            subprocess.run(["docker", "rm", "-f", name], check=True, capture_output=True)

    return play


def _write_image(archive: Path, repository: Path) -> None:
    """The tools that the commands need, the libraries that those need, and the repository."""
    found = {f"/bin/{tool}": os.path.realpath(shutil.which(tool) or "") for tool in TOOLS}
    linked = subprocess.run(["ldd", *found.values()], capture_output=True, text=True).stdout
    found |= {path: os.path.realpath(path) for path in re.findall(r"(/\S+) \(0x", linked)}
    with tarfile.open(archive, "w") as tar:
        for name, path in found.items():
            tar.add(path, name.lstrip("/"), recursive=False)
        for name in ("tmp", "proc", "sys", "dev", "etc"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        tar.add(repository, "repo")


def fork_ms(box: Sandbox, image: Image) -> list[float]:
    """Milliseconds from a frozen box with 1,000 changed files to the end of a fork's `true`."""
    change = "for path in part*/*.py; do echo changed >> $path; done"
    with box.session(image=image) as parent:
        done = parent.run(["bash", "-c", change])
        if not done.is_ok:
            sys.exit(f"the files could not be changed: {done}")
        changed = sum(each.kind == "file" for each in parent.changes(0))
        fork = image.over(parent.freeze())
    if changed != NUM_FILES:
        sys.exit(f"{changed} files were changed, not {NUM_FILES}")
    spent = []
    for _ in range(FORKS):
        start = time.perf_counter()
        with box.session(image=fork) as session:
            session.run(["true"])
            spent.append(1000 * (time.perf_counter() - start))
    return spent


def sides_of(options: argparse.Namespace, folder: Path, stack: ExitStack) -> dict[str, Episode]:
    """Those that can be had; the others are named."""
    repository = folder / "repository"
    make_repository(repository)
    box = stack.enter_context(sandbox.open("namespaces", LIMITS, store=folder / "layers"))
    image = Image(layers=(layer_of(repository, folder / "layers"),))
    sides = {"munro": munro(box, image), "bare": bare(repository, folder)}
    if options.mini_python and shutil.which("bwrap"):
        sides["bubblewrap"] = bubblewrap(options.mini_python, repository, stack)
    else:
        print("without bubblewrap: it needs bwrap, and --mini-python with mini-swe-agent")
    if (
        shutil.which("docker")
        and not subprocess.run(["docker", "info"], capture_output=True).returncode
    ):
        sides["docker"] = docker(repository, folder, stack)
    else:
        print("without docker: no engine answers")
    print("versions:", json.dumps(versions(options, sides)))
    spent = fork_ms(box, image)
    print(
        f"fork of {NUM_FILES} changed files: {statistics.median(spent):.1f} ms, median of {FORKS}"
    )
    options.fork_ms = statistics.median(spent)
    return sides


def versions(options: argparse.Namespace, sides: dict[str, Episode]) -> dict[str, str]:
    """Of the peers."""
    asked = {
        "bubblewrap": [
            options.mini_python, "-c",
            "import importlib.metadata as m; print('mini-swe-agent', m.version('mini-swe-agent'))",
        ],
        "docker": ["docker", "version", "--format", "{{.Server.Version}}"],
    }  # fmt: skip
    return {
        name: subprocess.run(command, capture_output=True, text=True).stdout.strip()
        for name, command in asked.items()
        if name in sides
    }


def main() -> None:
    """Print a table of medians and the ratios that count."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--mini-python", default="", help="an interpreter with mini-swe-agent")
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        sides = sides_of(options, folder, stack)
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        expected = sides["bare"]()
        for number in range(options.rounds + 1):
            for name, play in sides.items():
                start = time.perf_counter()
                printed = play()
                if printed != expected:
                    wrong = next(i for i, said in enumerate(printed) if said != expected[i])
                    sys.exit(f"{name}: {COMMANDS[wrong]!r} printed {printed[wrong]!r:.200}")
                if number:  # the first round only warms up
                    seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    print(f"{'side':<12}{'episodes/s':>12}{'munro is':>12}    slowest .. fastest, s")
    for name, median in medians.items():
        ratio, values = median / medians["munro"], seconds[name]
        spread = f"{max(values):.2f} .. {min(values):.2f}"
        print(f"{name:<12}{1 / median:>12.2f}{ratio:>11.2f}x    {spread}")
    figures = {"fork_ms": options.fork_ms, "episode_s": medians}
    print(json.dumps(figures))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2))
    wanted = {"docker": WANTED_TO_DOCKER, "bubblewrap": WANTED_TO_BUBBLEWRAP}
    missed = [
        f"{medians[name] / medians['munro']:.2f} times {name}, wanted {times:g}"
        for name, times in wanted.items()
        if name in medians and medians[name] < times * medians["munro"]
    ]
    if options.fork_ms > WANTED_FORK_MS:
        missed.append(f"a fork takes {options.fork_ms:.0f} ms, wanted {WANTED_FORK_MS:g}")
    if missed:
        sys.exit("; ".join(missed))


if __name__ == "__main__":
    main()
