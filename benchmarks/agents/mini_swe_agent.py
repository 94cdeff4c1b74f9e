"""A real climb whose episodes are played by mini-swe-agent, from its wheel, against vLLM.

    pip install --target FOLDER mini-swe-agent==2.4.6
    python benchmarks/agents/mini_swe_agent.py --packages FOLDER

64 agents are at work at once, each with an address of its own (`benchmarks/agents/mini.py`); their
policy is the quickstart's base. Each step is on-policy, so what the learner computes must be what
the engine sampled with. Fails where an attempt is missing, a token has no log-probability, version
or nucleus, or the two differ by more than 1e-4. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from importlib import metadata
from pathlib import Path

import numpy as np

import munro
from munro.envs.types import Ending
from munro.machine.run.folder import RunFolder
from munro.rollout.store.store import RolloutStore
from munro.rollout.types import Attempt

BOUND = 1e-4
HERE = Path(__file__).parent


def climbed(packages: str, folder: str, steps: int, attempts: int) -> Path:
    """The folder of the climb."""
    overrides = {
        "name": "mini",
        "folder": folder,
        "num_steps": steps,
        "env.path": str(HERE / "mini.py"),
        "env.args": {"packages": packages},
        "rollout.group_size": attempts,
        "rollout.num_early": attempts,
        "rollout.top_p": 0.97,
        "rollout.nucleus_candidates": 64,
        "batch.num_groups": 1,
        "sync.every_steps": 1,
        "length.stages": [64],
        "eval.every_steps": 0,
        "checkpoint.every_steps": steps,
    }
    return munro.climb("quickstart", **overrides).folder


def refuse_holes(attempt: Attempt) -> None:
    """Every sampled token has what the learner needs, and no other token has any of it."""
    told = attempt.trajectory
    assert told.num_sampled > 0
    assert np.isfinite(told.behaviour_logp).all()
    assert (told.behaviour_logp[~told.sampled] == 0).all()
    assert (told.versions[told.sampled] >= 0).all()
    assert (told.versions[~told.sampled] == -1).all()
    assert ((np.diff(told.kept.starts) > 0) == told.sampled).all()


def main() -> int:
    """Climb, look at what was stored, and print it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--packages", required=True)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--attempts", type=int, default=64)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = climbed(asked.packages, folder, asked.steps, asked.attempts)
        store = RolloutStore(run / "rollouts")
        groups = [group for step in store.steps() for group in store.read(step)]
        lines = [line for line in RunFolder.existing(run).metrics.read() if "ratio/max" in line]
    attempts = [attempt for group in groups for attempt in group.attempts]
    for attempt in attempts:
        refuse_holes(attempt)
    told = [attempt.trajectory for attempt in attempts]
    found = {
        "mini-swe-agent": version_of(asked.packages),
        "steps": len(lines),
        "attempts": len(attempts),
        "unscored": sum(group.num_unscored for group in groups),
        "passed": sum(attempt.grade.solved for attempt in attempts),
        "turns": sum(m.is_sampled or m.role == "assistant" for t in told for m in t.messages),
        "forks": sum(len(one.forks) for one in told),
        "sampled": sum(one.num_sampled for one in told),
        "ended": {str(end): sum(one.ending is end for one in told) for end in Ending},
        "logp_diff": max(line["policy/logp_diff"] for line in lines),
        "ratio_off_1": max(abs(line["ratio/max"] - 1) for line in lines),
        "pass_rate": [round(line["pass_rate/trained"], 3) for line in lines],
    }
    found["ended"] = {end: num for end, num in found["ended"].items() if num}
    print(json.dumps(found))
    is_whole = len(attempts) == asked.steps * asked.attempts and not found["unscored"]
    is_same = found["logp_diff"] <= BOUND and found["ratio_off_1"] <= BOUND
    return 0 if is_whole and is_same and len(lines) == asked.steps else 1


def version_of(packages: str) -> str:
    """Of mini-swe-agent in there."""
    (found,) = metadata.distributions(name="mini-swe-agent", path=[packages])
    return found.version


if __name__ == "__main__":
    sys.exit(main())
