"""A climb of agents whose processes are killed, and which the same command ends all the same.

    python benchmarks/agents/kills.py RECIPE [OPTIONS OF munro climb ...]

One after another, with kill -9: an inference server, the process that keeps a box, the driver;
after which the same command is given again, once all of the first has ended by itself. It fails
where a task is lost or trained twice, a step's trajectories are not in the store, a process or a
layer that an episode saved is left, or the report says nothing of turns, calls and endings. Ends
with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from munro.machine.loading import load, overrides_of
from munro.machine.run.folder import RunFolder
from munro.rl.control.journal import audit
from munro.rollout.store.store import RolloutStore

COMMAND = (sys.executable, "-c", "from munro.machine.cli.main import main; main()")
LOOK_S = 0.05
KINDS = ("server", "box", "driver")
SHOWN = ("Turns of an attempt", "Share of calls", "Share of attempts, by ending")
"""Panels of the report's page."""


class Climb:
    """The command, and every process that ever came of it."""

    def __init__(self, arguments: Sequence[str], run: RunFolder) -> None:
        self._arguments, self._run = arguments, run
        self._seen: set[psutil.Process] = set()
        self.driver = self._start()

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*COMMAND, "climb", *self._arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def look(self) -> list[psutil.Process]:
        """All that descends from the driver now."""
        found: list[psutil.Process] = []
        with suppress(psutil.Error):
            found = psutil.Process(self.driver.pid).children(recursive=True)
        self._seen |= {*found}
        return found

    def step(self) -> int:
        """The last that is in the metrics."""
        return max((int(row["step"]) for row in self._run.metrics.read()), default=0)

    def wait(self, what: str, until: Callable[[], Any], within_s: float = 1200) -> Any:
        """What `until` gives, once that is something."""
        end = time.monotonic() + within_s
        while not (found := until()):
            if self.driver.poll() is not None or time.monotonic() > end:
                sys.exit(f"{what} did not come:\n{self.driver.communicate()[0]}")
            self.look()
            time.sleep(LOOK_S)
        return found

    def kill(self, kind: str) -> None:
        """kill -9 of one process of that kind."""
        if kind == "driver":
            self.look()
            self.driver.kill()
            print(self.driver.communicate()[0], flush=True)
            self.wait_for_the_end()
            self.driver = self._start()
            return
        find = self._server if kind == "server" else self._keeper
        process = self.wait(f"a {kind}", find)
        with suppress(psutil.Error):
            process.kill()
        print(f"killed: {kind} {process.pid}", flush=True)

    def _server(self) -> psutil.Process | None:
        found = [one for one in self.look() if "_ServerActor" in _command(one)]
        return found[0] if found else None

    def _keeper(self) -> psutil.Process | None:
        """The first process of a box: a child of the template that a worker's launcher started."""
        for worker in (one for one in self.look() if "_WorkerActor" in _command(one)):
            for launcher in _children(worker):
                for template in _children(launcher):
                    for keeper in _children(template):
                        return keeper
        return None

    def wait_for_the_end(self, within_s: float = 120) -> None:
        """Until nothing of it lives, which nobody else sees to."""
        end = time.monotonic() + within_s
        while alive := self.alive():
            if time.monotonic() > end:
                sys.exit(f"left over: {[(one.pid, _command(one)) for one in alive]}")
            time.sleep(LOOK_S)

    def alive(self) -> list[psutil.Process]:
        """Those of the processes ever seen that still are, and are no more than a number."""
        found = []
        for one in self._seen:
            with suppress(psutil.Error):
                if one.is_running() and one.status() != psutil.STATUS_ZOMBIE:
                    found.append(one)
        return found


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [one for one in process.children() if one.status() != psutil.STATUS_ZOMBIE]
    except psutil.Error:
        return []


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def main() -> None:
    """Climb and kill, then say whether anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe")
    parser.add_argument("--layers", type=Path, help="store of the tasks' layers, to be as before")
    options, more = parser.parse_known_args()
    config = load(options.recipe, overrides_of(more))
    run = RunFolder(Path(config.folder) / config.name)
    before = _names(options.layers)
    climb = Climb([options.recipe, *more], run)
    for kind in KINDS:
        step = climb.step()
        climb.wait(f"a step after {step}", lambda step=step: climb.step() > step)
        climb.kill(kind)
    climb.wait("the end", lambda: climb.driver.poll() is not None)
    said = climb.driver.communicate()[0]
    print(said)
    climb.wait_for_the_end()
    figures = figures_of(run, _names(options.layers) - before) | {"status": climb.driver.returncode}
    print(json.dumps(figures))
    wrong = faults(figures, config.num_steps)
    for each in wrong:
        print(f"does not hold: {each}", file=sys.stderr)
    sys.exit(bool(wrong))


def _names(folder: Path | None) -> set[str]:
    return {path.name for path in folder.glob("[!.]*")} if folder else set()


def figures_of(run: RunFolder, new_layers: set[str]) -> dict[str, Any]:
    """What is left of the climb on disk."""
    found = audit(run.path / "journal.jsonl")
    rows = list(
        RolloutStore(run.path / "rollouts").scan(["step", "ending", "calls", "num_unscored"])
    )
    calls = [made for row in rows for made in json.loads(row["calls"] or "[]")]
    shown = (run.path / "report.html").read_text()
    return {
        "benchmark": "kills",
        "trained_twice": list(found.trained_twice),
        "skipped": list(found.skipped),
        "in_flight": list(found.in_flight),
        "trained": len(found.trained),
        "steps_stored": sorted({row["step"] for row in rows}),
        "attempts": len(rows),
        "endings": dict(Counter(row["ending"] for row in rows)),
        "calls": dict(Counter(made["name"] or "unreadable" for made in calls)),
        "unscored": sum({row["step"]: row["num_unscored"] for row in rows}.values()),
        "layers_left": len(new_layers),
        "report_shows": [word for word in SHOWN if word in shown],
    }


def faults(figures: dict[str, Any], num_steps: int) -> list[str]:
    """What should be otherwise, a line each."""
    told = {
        "the command ends well": figures["status"] == 0,
        "no task is trained twice or skipped": not figures["trained_twice"] + figures["skipped"],
        "every step's trajectories are in the store": figures["steps_stored"]
        == list(range(1, num_steps + 1)),
        "tools were called": bool(figures["calls"]),
        "nothing that an episode saved is left": figures["layers_left"] == 0,
        "the report shows turns, calls and endings": len(figures["report_shows"]) == len(SHOWN),
    }
    return [what for what, holds in told.items() if not holds]


if __name__ == "__main__":
    main()
