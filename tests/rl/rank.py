"""The ranks of `test_fsdp`: run as a script with a folder that holds `task.pkl`, ranks and port."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import sys
from pathlib import Path
from typing import Any

import torch

from munro.rl.learner import Learner
from munro.rollout.engine import WeightSource


class Shelf:
    """Keeps published weights in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def publish(self, named_tensors: Any, version: int) -> WeightSource:
        torch.save({name: tensor.clone() for name, tensor in named_tensors}, self.path)
        return WeightSource(path=str(self.path), version=version)


def run(folder: Path) -> None:
    """Two steps, a checkpoint, a third step; the same again from the checkpoint; scores."""
    task = pickle.loads((folder / "task.pkl").read_bytes())
    rank, ranks = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    config = task["config"].model_copy(update={"ranks": ranks})
    learner = Learner(task["model"], config, seed=0, temperature=0.8)
    clip = task["clip"]
    shares = [batch.split(ranks)[rank] for batch in task["batches"]]
    reports = [learner.step(share, clip=clip) for share in shares[:2]]
    learner.save(folder / f"saved-{ranks}", {"ranks": ranks})
    reports.append(learner.step(shares[2], clip=clip))
    scores = learner.score(task["texts"])
    source = learner.publish(Shelf(folder / f"published-{ranks}.pt"), 3)
    learner.load(task.get("load") or folder / f"saved-{ranks}")
    again = learner.step(shares[2], clip=clip)
    answer = {"reports": reports, "scores": scores, "again": again, "source": source}
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
