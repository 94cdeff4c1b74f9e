"""What the ranks of `test_parallel` do: ten steps of the learner, scores, and a publication."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

from munro.rl.learner import Learner
from tests.rl.rank import Shelf


def run(folder: Path) -> dict[str, Any]:
    """As `task.pkl` in the folder says: model, config, batches, clip, texts."""
    task = pickle.loads((folder / "task.pkl").read_bytes())
    rank = int(os.environ.get("RANK", "0"))
    config = task["config"]
    learner = Learner(task["model"], config, seed=0, temperature=0.8)
    reports = []
    for batch in task["batches"]:
        share = batch.split(config.data_ranks)[config.data_rank(rank)]
        reports.append(learner.step(share, clip=task["clip"]))
    scores = learner.score(task["texts"])
    learner.publish(Shelf(folder / f"published-{config.ranks}.pt"), 3)
    learner.save(folder / f"saved-{config.ranks}", {})
    placements = {
        name: (str(getattr(p, "placements", None)), tuple(p.shape))
        for name, p in learner._policy.model.named_parameters()
    }
    return {"reports": reports, "scores": scores, "placements": placements}
