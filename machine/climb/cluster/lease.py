"""What outlives a climb's own process on a cluster, for as long as it may come back.

Servers, problem workers and graders are detached: Ray does not end them with the process that
started them. A keeper, detached too, hears from that process every few seconds. Once it has heard
nothing for `deadlines.orphan_s` it ends all of them, gives what was set aside back, and ends. The
same command, started again before that, finds them by their names and goes on with them; started
with another config, it ends them first. On a Ray node of the climb's own everything ends with it.
"""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.placement_group import PlacementGroup, placement_group_table, remove_placement_group

from munro.machine.config import RunConfig

NAMESPACE = "munro"
"""Of names on a cluster: without one, each process would have names of its own."""
KEEPER = "keeper"
MOST_BEATS_S = 5.0


def name_of(config: RunConfig, model: Path, run: Path) -> str:
    """Prefix of the names of what a run with this config leaves on a cluster: RUN-CONFIG.

    Args:
        config: resolved.
        model: that servers start with.
        run: the run's folder.
    """
    whole = f"{model.absolute()} {config.model_dump_json()}"
    return f"{_run(run)}{hashlib.sha256(whole.encode()).hexdigest()[:16]}"


def _run(run: Path) -> str:
    where = f"{socket.gethostname()}:{run.absolute()}"
    return f"munro-{hashlib.sha256(where.encode()).hexdigest()[:16]}-"


def shared_name(run: Path) -> str:
    """Of a folder that servers find again whichever process of the climb they belong to."""
    return f"{run.name}-{_run(run).removeprefix('munro-')}kept"


class _Keeper:
    """Ends what has been left alone for too long."""

    def __init__(self, lasting: str, orphan_s: float) -> None:
        self._lasting, self._orphan_s = lasting, orphan_s
        self._heard = time.monotonic()
        threading.Thread(target=self._watch, daemon=True, name="keeper").start()

    def beat(self) -> None:
        """The climb's own process is alive."""
        self._heard = time.monotonic()

    def _watch(self) -> None:
        while time.monotonic() - self._heard < self._orphan_s:
            time.sleep(min(1.0, self._orphan_s / 10))
        end_all(self._lasting)


@contextmanager
def kept(lasting: str, run: Path, orphan_s: float) -> Iterator[bool]:
    """Say all the while that this process is alive; end all that has the name, at the end.

    Args:
        lasting: of `name_of`.
        run: the run's folder; what it left under another name is ended first.
        orphan_s: what it is kept for once this process says nothing more.

    Yields:
        Whether something of that name was there already.
    """
    found = {name.rpartition("/")[0] for name in _names(_run(run))}
    for other in found - {lasting}:
        end_all(other)
    keeper = (
        ray.remote(_Keeper)
        .options(
            name=f"{lasting}/{KEEPER}",
            namespace=NAMESPACE,
            lifetime="detached",
            get_if_exists=True,
            num_cpus=0,
            max_restarts=-1,
        )
        .remote(lasting, orphan_s)
    )
    ray.get(keeper.beat.remote())
    ended = threading.Event()
    every_s = min(MOST_BEATS_S, orphan_s / 10)

    def beat() -> None:
        while not ended.wait(every_s):
            with suppress(RayError):  # it is being started again
                keeper.beat.remote()

    thread = threading.Thread(target=beat, daemon=True, name="beat")
    thread.start()
    try:
        yield lasting in found
    finally:
        ended.set()
        thread.join()
        end_all(lasting)


def end_all(lasting: str) -> None:
    """End every actor whose name begins so, its keeper last, and free what was set aside."""
    for group_id, group in placement_group_table().items():
        if group["name"].startswith(lasting) and group["state"] != "REMOVED":
            remove_placement_group(PlacementGroup(ray.PlacementGroupID(bytes.fromhex(group_id))))
    for name in sorted(_names(lasting), key=lambda name: name.endswith(f"/{KEEPER}")):
        with suppress(ValueError):  # it has gone by itself
            ray.kill(ray.get_actor(name, namespace=NAMESPACE), no_restart=True)


def _names(prefix: str) -> list[str]:
    found: list[dict[str, Any]] = ray.util.list_named_actors(all_namespaces=True)
    return [
        one["name"]
        for one in found
        if one["namespace"] == NAMESPACE and one["name"].startswith(prefix)
    ]
