"""Nodes that do not see the run's folder: what their processes wait for, and where they stand.

Processes there write both into a folder of their node's own (`munro.rollout.waits.here`), from
which the driver brings it into the run's folder, so that `munro status` shows all of them.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from munro.rollout.waits import dump_stacks, own, read_waits

EVERY_S = 10.0
"""Between two looks at what they wait for."""
ANSWER_S = 30.0
"""Longest wait for a node: it may be gone."""


class Elsewhere:
    """Some nodes of the cluster.

    Args:
        run: the run's folder on this node.
        nodes: Ray's ids of nodes that do not see it.
    """

    def __init__(self, run: Path, nodes: Sequence[str]) -> None:
        self._run, self._nodes = run.absolute(), list(nodes)
        self._brought: set[Path] = set()

    @contextmanager
    def followed(self) -> Iterator[None]:
        """Bring what they wait for again and again, for as long as this lasts."""
        ended = threading.Event()

        def follow() -> None:
            while not ended.wait(EVERY_S):
                self.bring_waits()

        thread = threading.Thread(target=follow, daemon=True, name="elsewhere")
        if self._nodes:
            thread.start()
        try:
            yield
        finally:
            ended.set()
            for file in self._brought:
                file.unlink(missing_ok=True)

    def bring_waits(self) -> None:
        """The present waits of all processes there, in the place of those brought before."""
        brought = self._bring(waits_there, "waits")
        for gone in self._brought - brought:
            gone.unlink(missing_ok=True)
        self._brought = brought

    def bring_stacks(self) -> None:
        """Have all processes there write where they stand, and bring it."""
        self._bring(stacks_there, "stacks")

    def _bring(self, what: Callable[[str], dict[str, str]], into: str) -> set[Path]:
        written = set()
        for said in everywhere(what, self._nodes, str(self._run)):
            for name, text in said.items():
                file = self._run / into / name
                file.parent.mkdir(exist_ok=True)
                file.write_text(text)
                written.add(file)
        return written


def everywhere(function: Callable[..., Any], nodes: Sequence[str], *args: Any) -> list[Any]:
    """What a plain function returns on each of the nodes that answer."""
    calls = [on(node, function, *args) for node in nodes]
    found = []
    for call in calls:
        with suppress(RayError, GetTimeoutError):
            found.append(ray.get(call, timeout=ANSWER_S))
    return found


def on(node: str, function: Callable[..., Any], *args: Any) -> Any:
    """A reference to what a plain function returns on that node."""
    there = NodeAffinitySchedulingStrategy(node, soft=False)
    return ray.remote(num_cpus=0)(function).options(scheduling_strategy=there).remote(*args)


def waits_there(run: str) -> dict[str, str]:
    """The files of the processes that live on this node, by name. Runs there."""
    folder = own(run)
    alive = [said.process for said in read_waits(folder) if said.is_alive]
    files = [folder / "waits" / f"{process}.json" for process in alive]
    return {file.name: file.read_text() for file in files if file.exists()}


def stacks_there(run: str) -> dict[str, str]:
    """Where those processes stand, by the name of a file. Runs there."""
    host = socket.gethostname()
    return {f"{host}-{file.name}": file.read_text() for file in dump_stacks(own(run))}
