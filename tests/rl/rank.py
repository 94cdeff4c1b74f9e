"""The ranks of `test_fsdp`: run as a script with a folder that holds `task.pkl`, ranks and port."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import sys
from pathlib import Path
from typing import Any

import torch
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from munro.rl.learner import Learner
from munro.rollout.engine import WeightSource


class Shelf:
    """Keeps published weights in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def publish(self, named_tensors: Any, version: int) -> WeightSource:
        torch.save({name: tensor.clone() for name, tensor in named_tensors}, self.path)
        return WeightSource(path=str(self.path), version=version)


class Widest(TorchDispatchMode):
    """Knows the most numbers that any one tensor held which was made meanwhile on this rank."""

    most = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        # a sharded tensor calls itself whole, and holds a shard
        tensors = [
            one.to_local() if isinstance(one, DTensor) else one
            for one in tree_leaves(made)
            if isinstance(one, torch.Tensor)
        ]
        self.most = max([self.most, *(tensor.untyped_storage().size() // 4 for tensor in tensors)])
        return made


def run(folder: Path) -> None:
    """Two steps, a checkpoint, a third step; the same again from the checkpoint; scores."""
    task = pickle.loads((folder / "task.pkl").read_bytes())
    rank, ranks = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    config = task["config"].model_copy(update={"ranks": ranks})
    learner = Learner(task["model"], config, seed=0, temperature=0.8)
    clip = task["clip"]
    shares = [batch.split(ranks)[rank] for batch in task["batches"]]
    reports = [learner.step(share, clip=clip) for share in shares[:2]]
    with Widest() as saving:
        learner.save(folder / f"saved-{ranks}", {"ranks": ranks})
    reports.append(learner.step(shares[2], clip=clip))
    scores = learner.score(task["texts"])
    with Widest() as publishing:
        source = learner.publish(Shelf(folder / f"published-{ranks}.pt"), 3)
    learner.load(folder / f"saved-{ranks}")
    resumed = learner.step(shares[2], clip=clip)
    learner.load(task.get("load") or folder / f"saved-{ranks}")
    again = learner.step(shares[2], clip=clip)
    answer = {"reports": reports, "scores": scores, "again": again, "source": source}
    answer["resumed"] = resumed
    answer["widest"] = {"save": saving.most, "publish": publishing.most}
    (folder / f"answer-{rank}-of-{ranks}.pkl").write_bytes(pickle.dumps(answer))


def run_rank(folder: Path, rank: int, ranks: int, port: int) -> None:
    """Become one of several ranks that meet at a port."""
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": ranks, "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in names.items()})
    os.environ["MASTER_ADDR"] = "127.0.0.1"
    run(folder)
    torch.distributed.destroy_process_group()


def main() -> int:
    """Fork the ranks after the imports, which cost far more than the work; 0 when all succeed."""
    folder, ranks, port = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    context = multiprocessing.get_context("fork")
    children = [
        context.Process(target=run_rank, args=(folder, rank, ranks, port)) for rank in range(ranks)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join()
    return sum(child.exitcode != 0 for child in children)


if __name__ == "__main__":
    sys.exit(main())
