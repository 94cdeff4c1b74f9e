"""The Ray node or cluster of one climb: how it is reached, and what its nodes see."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ray

from munro.base_model.cluster import join
from munro.machine.climb.cluster.elsewhere import Elsewhere, on
from munro.machine.climb.cluster.lease import NAMESPACE
from munro.machine.climb.needs import marked, not_shared, read_by_all, transport_of, unseen
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
                join(config.ray.address, namespace=NAMESPACE, **common)
            except ConnectionError as error:
                raise BadConfig(
                    f'ray.address = "{config.ray.address}": no Ray cluster answers there ({error})'
                ) from error
        else:
            # "local", or it would join what was started here last, or wait for it if it is gone
            ray.init("local", num_cpus=config.ray.cpus or None, **common, **_short_folder())
    try:
        yield
    finally:
        ray.shutdown()


def require_seen(config: RunConfig, setting: Setting) -> Elsewhere | None:
    """Every node of a cluster sees what its processes will read; not all need see the run's folder.

    A model of the hub is fetched by each node that lacks it.

    Returns:
        The nodes that do not see the run's folder; None without a cluster.

    Raises:
        BadConfig: a node does not see something; names the node, the path and the key.
    """
    if not config.ray.address:
        return None
    nodes = [node for node in ray.nodes() if node["Alive"]]
    folders = {"the run's folder": (Path(setting.run), "")}
    if setting.weights and transport_of(config, on_gpu=False, nodes=len(nodes)) == "file":
        what = "the folder of new weights"
        folders[what] = (Path(setting.weights), "sync.weights_folder")
    with marked(folders) as places:
        places += [*read_by_all(setting)]
        asked = [(node, on(node["NodeID"], unseen, places)) for node in nodes]
        without = []
        for node, answer in asked:
            host = str(node["NodeManagerHostname"])
            what = f"the node {host} to look for its paths"
            with waits.waiting(what, config.deadlines.start_s) as wait:
                lacking = ray.get(answer, timeout=wait.remaining)
            for place in lacking:
                if place.mend:
                    raise BadConfig(not_shared(host, place))
                without.append(str(node["NodeID"]))
    return Elsewhere(Path(setting.run), without)


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
