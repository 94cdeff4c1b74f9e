"""What the ranks of `test_parallel` do: ten steps of the learner over one mesh after another."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

from munro.base_model.config import ParallelConfig
from munro.rl.config import LearnerConfig
from munro.rl.learner import Learner
from tests.rl.rank import Shelf


def run(folder: Path) -> list[dict[str, Any]]:
    """As `task.pkl` in the folder says: ten steps, scores, a publication; a step from a save."""
    task = pickle.loads((folder / "task.pkl").read_bytes())
    rank, ranks = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    answers = []
    for number, mesh in enumerate(task["meshes"] if ranks > 1 else [{}]):
        asked = {"ranks": ranks, "parallel": ParallelConfig(**mesh)}
        config = LearnerConfig(**(task["config"].model_dump() | asked))
        learner = Learner(task["model"], config, seed=0, temperature=0.8)
        shares = [
            batch.split(config.data_ranks)[config.data_rank(rank)] for batch in task["batches"]
        ]
        reports = [learner.step(share, clip=task["clip"]) for share in shares]
        scores = learner.score(task["texts"])
        learner.publish(Shelf(folder / f"published-{ranks}-{number}.pt"), 3)
        saved = folder / f"saved-{ranks}-{number}"
        learner.save(saved, {})
        # from what one rank has saved, which is of no particular mesh
        learner.load(folder / "saved-1-0")
        again = learner.step(shares[0], clip=task["clip"])
        answers.append({"reports": reports, "scores": scores, "again": again})
    return answers
