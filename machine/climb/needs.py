"""What a climb asks of its nodes, held against what they are: told before anything is started."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from uuid import uuid4

from munro.machine.config import BY_PLAN, RunConfig


def shortage(config: RunConfig, nodes: Sequence[Mapping[str, float]], *, learner: bool) -> str:
    """What the nodes lack of GPUs and CPUs, in a sentence; empty where they have enough.

    Where no node has a GPU, everything runs on CPUs.

    Args:
        config: resolved.
        nodes: what each node has in all, by Ray's names: {"CPU": 8, "GPU": 2}.
        learner: whether learner ranks are started too.
    """
    rollout = config.rollout
    gpus = [int(node.get("GPU", 0)) for node in nodes]
    ranks = config.learner.ranks if learner else 0
    has = f"{_counted(sum(gpus), 'GPU')} on {_counted(len(nodes), 'node')}"
    if rollout.tensor_parallel > max(gpus, default=0) and (
        any(gpus) or rollout.tensor_parallel > 1
    ):
        return (
            f"rollout.tensor_parallel = {rollout.tensor_parallel} asks for that many GPUs on one "
            f"node, and Ray finds {has}, {max(gpus, default=0)} at most on one. Lower it."
        )
    if config.sync.transport in ("ipc", "nccl") and not any(gpus):
        return (
            f'sync.transport = "{config.sync.transport}" takes weights from GPU to GPU, and Ray '
            f'finds {has}. Set sync.transport = "group" or "file".'
        )
    wanted = gpus_wanted(config, learner=learner)
    if any(gpus) and wanted > sum(gpus):
        asked = f"{_counted(rollout.servers, 'server')} of {rollout.tensor_parallel}"
        asked += f" and {_counted(ranks, 'learner rank')} of 1" if learner else ""
        return (
            f"the recipe asks for {_counted(wanted, 'GPU')} ({asked}), and Ray finds {has}. Lower "
            "rollout.servers, rollout.tensor_parallel or learner.ranks, or give it more"
            + ("; or have server and learner share one: ray.colocate = true." if learner else ".")
        )
    cpus, each = sum(int(node.get("CPU", 0)) for node in nodes), rollout.servers + rollout.workers
    if config.ray.reserve and each + ranks > cpus:
        return (
            f"ray.reserve sets a CPU aside for each of {_counted(each + ranks, 'process')}, and "
            f"Ray finds {_counted(cpus, 'CPU')}. Ask for fewer servers, workers or ranks, or set "
            "ray.reserve = false."
        )
    return ""


def gpus_wanted(config: RunConfig, *, learner: bool = True) -> int:
    """GPUs that a climb takes where there are any."""
    if config.ray.colocate and learner:
        return 1
    servers = config.rollout.servers * config.rollout.tensor_parallel
    return servers + (config.learner.ranks if learner else 0)


def transport_of(
    config: RunConfig, *, on_gpu: bool, nodes: int = 1
) -> Literal["file", "group", "ipc", "nccl"]:
    """How weights go, where the config leaves it open."""
    if config.sync.transport != "auto":
        return config.sync.transport
    if config.learner.lora is not None:
        return "file"  # adapters are loaded by their names
    if on_gpu and config.ray.colocate and config.rollout.engine == "vllm":
        return "ipc"
    apart = nodes > 1 and not config.sync.weights_folder and config.rollout.engine in BY_PLAN
    return "group" if apart else "file"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "es" if what.endswith("s") else "s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A path that processes on every node must see. Crosses to them.

    Example:
        Place(path="/data/base/config.json", what="the model", mend="model.path")
    """

    path: str
    """Absolute."""
    what: str
    mend: str
    """Key that says where it is."""


@contextmanager
def marked(folders: Mapping[str, tuple[Path, str]]) -> Iterator[list[Place]]:
    """A file in each folder for as long as this lasts: who sees it sees the same folder.

    Args:
        folders: what a folder is, to the folder (made where it is missing) and its key.
    """
    name = f".seen-{uuid4().hex}"
    with ExitStack() as stack:
        places = []
        for what, (folder, key) in folders.items():
            mark = folder.absolute() / name
            mark.parent.mkdir(parents=True, exist_ok=True)
            stack.callback(mark.unlink, missing_ok=True)
            mark.write_text(socket.gethostname())
            places.append(Place(path=str(mark), what=what, mend=key))
        yield places


def unseen(places: Sequence[Place]) -> list[Place]:
    """Those that this node does not see. Runs there."""
    return [place for place in places if not Path(place.path).exists()]


def not_shared(host: str, place: Place) -> str:
    """The sentence about a node that does not see a place."""
    folder = Path(place.path).parent
    return (
        f"the node {host} does not see {place.what}, {folder}: put it on a file system that all "
        f"nodes share, and say where by {place.mend}."
    )
