"""Start the ranks of a training over the nodes of a Ray cluster. Ray's door in this room.

launch_over ──► an actor a rank, on its node ──► the rank's process, which dies with its actor
        ◄── lines of JSON, asked for again and again

The ranks meet at the first one's node. All of them read the data and write their checkpoints in the
run's folder, so a node that does not see it is refused by its name before anything is trained.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import ray
from ray.exceptions import RayActorError

from munro.base_model.cluster import join
from munro.base_model.training.launch import LAST_WORDS_S, POLL_S
from munro.base_model.training.trainer import TrainingError

START_S = 600.0
"""Longest wait for the cluster to give every rank a process."""


class _Rank:
    """Runs one rank's command on the node that Ray has put it on."""

    def where(self) -> tuple[str, int]:
        """A host and a free port at which all ranks can meet."""
        with socket.socket() as probe:
            probe.bind(("", 0))
            return ray.util.get_node_ip_address(), int(probe.getsockname()[1])

    def lacks(self, path: str) -> str:
        """The node's name, where it does not see the path."""
        return "" if Path(path).exists() else socket.gethostname()

    def begin(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._lines: list[bytes] = []
        self._child = subprocess.Popen(
            command, env={**os.environ, **environment}, stdout=subprocess.PIPE
        )
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self) -> None:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            self._lines.append(line)

    def end(self) -> None:
        """End the child, too, where it has not ended."""
        child = getattr(self, "_child", None)
        if child is not None and child.poll() is None:
            child.kill()

    def said(self) -> tuple[list[bytes], int | None]:
        """Lines since the last call, and the exit status once there is one and all was read."""
        code = self._child.poll()
        if code is not None:
            self._reading.join(POLL_S)
        lines, self._lines = self._lines, []
        return lines, code


def launch_over(
    address: str,
    command: Sequence[str],
    ranks: int,
    *,
    seen: Path,
    on_line: Callable[[dict[str, Any]], None],
) -> None:
    """Run a command once for each rank, and wait for all of them; see `launch.launch`.

    Args:
        address: of a running Ray cluster, all of whose nodes have this environment.
        command: see `launch.launch`.
        ranks: how many; each takes a GPU where the cluster has any.
        seen: folder that every rank's node must see.
        on_line: told every line but errors.

    Raises:
        TrainingError: no cluster answers, a node does not see the folder, a rank failed or died;
            the others were ended.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        join(address, log_to_driver=False, logging_level="ERROR")
    except ConnectionError as error:
        raise TrainingError(f'no Ray cluster answers at "{address}" ({error})') from error
    try:
        over(command, ranks, seen=seen, on_line=on_line)
    finally:
        ray.shutdown()


def over(
    command: Sequence[str], ranks: int, *, seen: Path, on_line: Callable[[dict[str, Any]], None]
) -> None:
    """The same with the Ray that this process has joined."""
    on_gpus = 1 if ray.cluster_resources().get("GPU") else 0
    strategy = "DEFAULT" if on_gpus else "SPREAD"
    actor = ray.remote(_Rank).options(num_gpus=on_gpus, num_cpus=0, scheduling_strategy=strategy)
    actors = [actor.remote() for _ in range(ranks)]
    try:
        _begin(actors, command, seen)
        _follow(actors, on_line)
    except RayActorError as error:
        raise TrainingError(
            f"a rank's node or process died ({str(error).strip().splitlines()[0]}); the same "
            "command goes on from the last checkpoint."
        ) from error
    finally:
        ray.wait([one.end.remote() for one in actors], num_returns=ranks, timeout=LAST_WORDS_S)
        for one in actors:
            ray.kill(one)


def _begin(actors: Sequence[Any], command: Sequence[str], seen: Path) -> None:
    up, _ = ray.wait(
        [rank.where.remote() for rank in actors], num_returns=len(actors), timeout=START_S
    )
    if len(up) < len(actors):
        raise TrainingError(
            f"the cluster had room for {len(up)} of parallelism.ranks = {len(actors)} within "
            f"{START_S:g} s: start fewer, or give it more nodes."
        )
    mark = seen.absolute() / f".seen-{uuid4().hex}"
    mark.touch()
    try:
        for host in filter(None, ray.get([rank.lacks.remote(str(mark)) for rank in actors])):
            raise TrainingError(
                f"the node {host} does not see the run's folder, {seen.absolute()}: put it on a "
                "file system that all nodes share (folder = ..., or --out)."
            )
    finally:
        mark.unlink()
    host, port = ray.get(actors[0].where.remote())
    for rank, one in enumerate(actors):
        one.begin.remote(command, environment_of(rank, len(actors), host, port))


def environment_of(rank: int, ranks: int, host: str, port: int) -> dict[str, str]:
    """What torch.distributed and accelerate read; Ray shows each rank its own GPU alone."""
    return {
        "RANK": str(rank),
        "LOCAL_RANK": "0",
        "WORLD_SIZE": str(ranks),
        "LOCAL_WORLD_SIZE": "1",
        "MASTER_ADDR": host,
        "MASTER_PORT": str(port),
    }


def _follow(actors: Sequence[Any], on_line: Callable[[dict[str, Any]], None]) -> None:
    """Hand on lines until every rank has ended well."""
    while True:
        told: list[tuple[list[bytes], int | None]] = ray.get([one.said.remote() for one in actors])
        for line in (json.loads(line) for lines, _ in told for line in lines):
            if "error" in line:
                raise TrainingError(line["error"])
            on_line(line)
        for rank, (_, code) in enumerate(told):
            if code:
                raise TrainingError(
                    f"rank {rank} of {len(actors)} died "
                    + (f"of signal {-code}" if code < 0 else f"with exit status {code}")
                    + "; the same command goes on from the last checkpoint."
                )
        if all(code == 0 for _, code in told):
            return
        time.sleep(POLL_S)
