"""What a climb asks of its nodes, held against what they are: told before anything is started."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal
from uuid import uuid4

from munro.base_model.hub import HubError, fetch_into, identity
from munro.machine.config import BY_PLAN, RunConfig
from munro.rollout.setting import Setting


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
        Place(path="/data/base", what="the model", mend="model.path", like="5f1c...")
    """

    path: str
    """Absolute."""
    what: str
    mend: str
    """Key that says where it is; empty for what a node may do without."""
    like: str = ""
    """What `likeness` says of the folder on the driver's node; empty to ask for no more than that
    something is there."""
    recorded: str = ""
    """Of a model of the hub, `munro.base_model.hub.Located.recorded`: a node that lacks it may
    fetch it."""


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


def read_by_all(setting: Setting) -> Iterator[Place]:
    """What servers, workers and learner read wherever they run: the model, environments' files."""
    model = Path(setting.model)
    yield Place(
        path=str(model),
        what="the model",
        mend="model.path",
        like=likeness(model),
        recorded=identity(model),
    )
    for env in (*setting.envs, *setting.held_out):
        file, _, name = env.path.rpartition(":")
        if name and Path(file).is_absolute():
            yield Place(path=file, what=f"the environment {name}", mend="env.path")


def likeness(folder: Path) -> str:
    """What two copies of a model have in common: the sizes of their files, and their config."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    found = sha256()
    for file in files:
        if file.suffix in (".safetensors", ".json"):
            found.update(f"{file.name} {file.stat().st_size}\n".encode())
    config = folder / "config.json"
    found.update(config.read_bytes() if config.is_file() else b"")
    return found.hexdigest()


def unseen(places: Sequence[Place]) -> list[Place]:
    """Those that this node does not see, or sees otherwise. Runs there."""
    return [place for place in places if not _is_there(place)]


def _is_there(place: Place) -> bool:
    path = Path(place.path)
    if not path.exists() and place.recorded:
        with suppress(HubError):
            fetch_into(place.recorded, path)
    return path.exists() and (not place.like or likeness(path) == place.like)


def not_shared(host: str, place: Place) -> str:
    """The sentence about a node that does not see a place."""
    is_copy = place.like or place.mend == "env.path"
    folder = Path(place.path) if is_copy else Path(place.path).parent
    how = "put it on a file system that all nodes share"
    how += ", or a copy in the same place of each" if is_copy else ""
    return (
        f"the node {host} does not see {place.what}, {folder}"
        + (" (or another one of that name)" if place.like else "")
        + f": {how}, and say where by {place.mend}."
    )
