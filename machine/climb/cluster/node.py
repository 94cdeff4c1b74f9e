"""The Ray node or cluster of one climb: how it is reached, and what is set aside on it."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import ray
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import (
    NodeAffinitySchedulingStrategy,
    PlacementGroupSchedulingStrategy,
)

from munro.machine.climb.needs import Place, marked, not_shared, shortage, unseen
from munro.machine.config import RunConfig
from munro.machine.loading import BadConfig
from munro.rollout import waits
from munro.rollout.setting import Setting

LONGEST_SOCKET = 107
"""Bytes of a Unix socket's name."""
RAY_SOCKET = len("/ray/session_2026-01-31_23-59-59_999999_4194304/sockets/plasma_store.1234567")
"""What Ray appends to its folder, at most."""


@contextmanager
def ray_node(config: RunConfig) -> Iterator[None]:
    """A Ray node of our own on this machine, or the cluster that the config names.

    Raises:
        BadConfig: this process, a notebook's say, has a Ray of its own.
    """
    if ray.is_initialized():
        raise BadConfig(
            "Ray runs in this process already: end it with ray.shutdown(), for a climb starts and "
            "ends its own (set ray.address for a cluster that is up)."
        )
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    common = {"log_to_driver": False, "include_dashboard": False, "logging_level": "ERROR"}
    with _hearing_signals_first():
        if config.ray.address:
            del common["include_dashboard"]
            try:
                ray.init(address=config.ray.address, **common)
            except ConnectionError as error:
                raise BadConfig(
                    f'ray.address = "{config.ray.address}": no Ray cluster answers there ({error})'
                ) from error
        else:
            ray.init(num_cpus=config.ray.cpus or None, **common, **_short_folder())
    try:
        yield
    finally:
        ray.shutdown()


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where Ray is to start a climb's processes; None is anywhere."""

    all: PlacementGroupSchedulingStrategy | None = None
    shared: PlacementGroupSchedulingStrategy | None = None
    """Of the server and the learner that share a GPU."""


@contextmanager
def reserved(config: RunConfig, *, learner: bool) -> Iterator[Places]:
    """One placement group for all processes, where the config asks for it; freed at the end.

    Raises:
        BadConfig: the cluster has not got that much, or not within `deadlines.start_s`.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if lacking := shortage(config, nodes, learner=learner):
        raise BadConfig(lacking)
    together = config.ray.colocate and learner
    if not config.ray.reserve and not together:
        yield Places()
        return
    bundles = _bundles(config, learner=learner, together=together)
    wanted = {kind: sum(bundle[kind] for bundle in bundles) for kind in ("CPU", "GPU")}
    group = placement_group([{k: n for k, n in bundle.items() if n} for bundle in bundles])
    try:
        if not group.wait(config.deadlines.start_s):
            has = {kind: int(ray.cluster_resources().get(kind, 0)) for kind in wanted}
            raise BadConfig(
                f"the cluster could not set aside {wanted['CPU']} CPUs and {wanted['GPU']} GPUs "
                f"within {config.deadlines.start_s:g} s (it has {has['CPU']} and {has['GPU']} in "
                "all, others may hold them): raise deadlines.start_s, ask for fewer servers, "
                "workers or ranks, or set ray.reserve = false."
            )
        anywhere_in_it = PlacementGroupSchedulingStrategy(group)
        yield Places(
            all=anywhere_in_it if config.ray.reserve else None,
            shared=PlacementGroupSchedulingStrategy(group, 0) if together else None,
        )
    finally:
        remove_placement_group(group)


def _bundles(config: RunConfig, *, learner: bool, together: bool) -> list[dict[str, int]]:
    """What is set aside, one entry a process; the first is for two where they share a GPU."""
    gpu = 1 if ray.cluster_resources().get("GPU") else 0
    if together:
        bundles = [{"CPU": 1, "GPU": gpu}]
    else:
        bundles = [{"CPU": 1, "GPU": gpu * config.rollout.tensor_parallel}] * config.rollout.servers
        bundles += [{"CPU": 1, "GPU": gpu}] * (config.learner.ranks if learner else 0)
    workers = config.rollout.workers if config.ray.reserve else 0
    return [*bundles, *[{"CPU": 1, "GPU": 0}] * workers]


def require_shared(config: RunConfig, setting: Setting) -> None:
    """Every node of a cluster sees what its processes will read.

    Raises:
        BadConfig: one does not; names the node, the path and the key.
    """
    if not config.ray.address:
        return
    folders = {
        "the run's folder": (Path(setting.run), "folder"),
        "the folder of new weights": (Path(setting.weights), "sync.weights_folder"),
    }
    ask, deadline_s = ray.remote(num_cpus=0)(unseen), config.deadlines.start_s
    with marked(folders) as places:
        config_file = str(Path(setting.model) / "config.json")
        places.append(Place(path=config_file, what="the model", mend="model.path"))
        asked = {
            node["NodeManagerHostname"]: ask.options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            ).remote(places)
            for node in ray.nodes()
            if node["Alive"]
        }
        for host, answer in asked.items():
            with waits.waiting(f"the node {host} to look for its paths", deadline_s) as wait:
                for place in ray.get(answer, timeout=wait.remaining)[:1]:
                    raise BadConfig(not_shared(host, place))


@contextmanager
def _hearing_signals_first() -> Iterator[None]:
    """Ray puts handlers of its own in the place of ours, which print a stack of C++ and end us."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _short_folder() -> dict[str, str]:
    """Where Ray keeps its sockets, if the folder that it would take is too long for them."""
    usual = os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()
    if len(os.fsencode(usual)) + RAY_SOCKET <= LONGEST_SOCKET:
        return {}
    short = Path("/tmp") / f"munro-ray-{os.getuid()}"
    try:
        short.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise BadConfig(
            f"{usual} is too long a name for the folder of Ray's sockets (a socket's has at most "
            f"{LONGEST_SOCKET} bytes), and {short} cannot be made ({error.strerror}): set "
            "RAY_TMPDIR to a shorter one."
        ) from error
    # vLLM's sockets would lie in the same place
    os.environ.setdefault("VLLM_RPC_BASE_PATH", str(short))
    return {"_temp_dir": str(short)}
