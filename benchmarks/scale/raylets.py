"""A Ray cluster of several raylets on this machine, each with its own folder and its own mounts.

Run as a script with a scratch folder, a path that no node may see (empty for none) and the CPUs of
each node; the first is the head. Says the address in a line of JSON, then does what it reads:

    kill CLASS      end the node that the actor of that class runs on, at once, and start another
    pids            processes of the actors, as [[class, pid, state], ...]
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

CLONE_NEWNS = 0x20000
ROOM = 100 << 20
"""Bytes of each node's object store."""


def in_its_own_place(folder: Path, number: int, hidden: str) -> None:
    """Stand in another folder, and where this is root in another mount namespace, from now on."""
    own = folder / f"node-{number}"
    own.mkdir()
    os.chdir(own)
    if not hidden:
        return
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), "unshare")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", hidden], check=True)


def actors() -> list[dict[str, Any]]:
    """Ray's own account of them, which needs no dashboard."""
    from ray._private.state import actors as told

    return list(told().values())


def main() -> None:
    folder, hidden, cpus = Path(sys.argv[1]), sys.argv[2], [int(n) for n in sys.argv[3:]]
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    import ray
    from ray.cluster_utils import Cluster

    # Ray's sockets need a short name
    short = tempfile.mkdtemp(prefix="r", dir="/tmp")
    cluster, nodes, made = Cluster(), [], len(cpus) - 1
    for number, each in enumerate(cpus):
        in_its_own_place(folder, number, hidden)
        more = {"temp_dir": short, "include_dashboard": False} if number == 0 else {}
        nodes.append(node_of(cluster, each, number, **more))
    ray.init(cluster.address, logging_level="ERROR", log_to_driver=False)
    say({"address": cluster.address, "temp": short})
    for line in sys.stdin:
        order, _, what = line.strip().partition(" ")
        if order == "pids":
            say([[one["ActorClassName"], one["Pid"], one["State"]] for one in actors()])
        if order == "kill":
            where = next(
                one["Address"]["NodeID"]
                for one in actors()
                if one["ActorClassName"].endswith(what) and one["State"] == "ALIVE"
            )
            place = next((i for i, node in enumerate(nodes) if node.node_id == where), 0)
            assert place, f"{what} runs on the head"
            cluster.remove_node(nodes[place], allow_graceful=False)
            made += 1
            in_its_own_place(folder, made, hidden)
            nodes[place] = node_of(cluster, cpus[place], made)
            say({"killed": place})
    ray.shutdown()
    cluster.shutdown()


def node_of(cluster: Any, cpus: int, number: int, **more: Any) -> Any:
    """A raylet, but for the head with an address of its own: a driver joins that which has its."""
    if number:
        more["node_ip_address"] = f"127.0.0.{1 + number}"
    return cluster.add_node(num_cpus=cpus, object_store_memory=ROOM, **more)


# what Ray says goes where errors go
ANSWERS = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


def say(what: object) -> None:
    ANSWERS.write(json.dumps(what) + "\n")
    ANSWERS.flush()


if __name__ == "__main__":
    main()
