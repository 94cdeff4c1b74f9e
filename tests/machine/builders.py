"""A made-up run: the files of a climb, without the climb."""

from __future__ import annotations

import math
import random
from pathlib import Path

from munro.machine.run.folder import RunFolder, Status
from munro.rollout.store.store import RolloutStore
from munro.rollout.types import Group
from tests.builders import make_attempt, make_group, make_task, make_trajectory

CONFIG = {
    "name": "stem",
    "seed": 1,
    "clip": {"entropy_target": 0.3, "widening_max": 2.5, "outer": 50.0},
    "learner": {"learning_rate": 3e-4, "max_grad_norm": 1.0},
    "sync": {"proof_bound": 0.05},
}


def make_metrics(step: int, of: int, rng: random.Random) -> dict[str, float | list[str]]:
    """What a climb might say at `step`: a pass rate that rises, an entropy that is held."""
    done = step / of
    rate = 0.2 + 0.7 / (1 + math.exp(-8 * (done - 0.4))) + rng.gauss(0, 0.04)
    line: dict[str, float | list[str]] = {
        "reward/total": rate + 0.3,
        "reward/task": rate,
        "reward/language": 0.9,
        "reward/length": 0.3 * done,
        "pass_rate/early": max(0.0, rate - 0.03),
        "pass_rate/sampled": min(1.0, max(0.0, rate)),
        "pass_rate/trained": 0.45 + rng.gauss(0, 0.03),
        "policy/entropy": 0.3 + 0.4 * math.exp(-9 * done) + rng.gauss(0, 0.03),
        "policy/k": max(0.0, min(2.5, round(4 * math.sin(5 * done)) / 4)),
        "policy/mismatch_kl": 1e-6 * math.exp(rng.gauss(0, 0.7)),
        "clip/low": 0.002 + abs(rng.gauss(0, 0.001)),
        "clip/high": 0.004 + abs(rng.gauss(0, 0.002)),
        "clip/outer": 0.0,
        "ratio/max": math.exp(abs(rng.gauss(0.6, 0.6))),
        "learner/loss": rng.gauss(0, 0.02),
        "learner/grad_norm": math.exp(rng.gauss(-0.5, 0.5)),
        "response/length": 9 + 20 * done + rng.gauss(0, 0.8),
        "response/length_max": 40 + rng.randrange(20),
        "response/truncated": 0.02 * (1 - done),
        "staleness/mean": rng.random(),
        "staleness/max": rng.randrange(1, 4),
        "groups/trained": 16,
        "groups/stale": rng.randrange(2),
        "groups/abandoned/too_hard_early": int(9 * (1 - done)),
        "groups/abandoned/too_easy": int(7 * done),
        "groups/abandoned/unscored": int(rng.random() < 0.03),
        "rollout/unscored": 0.01 * rng.random(),
        "rollout/nucleus_cut": 0.0,
        "sync/proof": 1e-5 * math.exp(rng.gauss(0, 0.3)),
        "speed/rollout_tokens_per_s": 2300 + rng.gauss(0, 120),
        "speed/learner_tokens_per_s": 4100 + rng.gauss(0, 200),
        "time/generate": 0.9,
        "time/train": 0.5 + 0.3 * done,
        "time/sync": 0.1,
        "time/step": 1.6 + 0.3 * done,
    }
    if step % (of // 8) == 0 or step == 1:
        line["eval/pass_rate"] = min(1.0, max(0.0, rate + rng.gauss(0, 0.015)))
        line["time/eval"] = 0.6
    if step == of // 2:
        line["event"] = ["length cap 64 -> 128"]
    return line


def make_groups(step: int, num_groups: int = 4, size: int = 6) -> list[Group]:
    """Groups of sums, half of each wrong, the first reply of them all an attack on the page."""
    rng = random.Random(step)
    groups = []
    for index in range(num_groups):
        a, b = rng.randrange(100), rng.randrange(100)
        replies = [
            f"Digits: {a % 10}+{b % 10}, then the tens.\n<answer>{a + b + (at % 2)}</answer>"
            for at in range(size)
        ]
        replies[0] += HOSTILE if index == 0 else ""
        attempts = [
            make_attempt(float(at % 2 == 0), trajectory=make_trajectory(reply=reply, messages=()))
            for at, reply in enumerate(replies)
        ]
        task = make_task(f"{a}+{b}", env="arithmetic" if index % 2 else "puzzles")
        groups.append(
            make_group(index=step * num_groups + index, task=task, attempts=tuple(attempts))
        )
    return groups


HOSTILE = (
    "</script><script>alert(1)</script><img src=x onerror=alert(2)><!--<script>"
    "\u2028\u2029\u202e\x00 &lt;b&gt; ]]> {{7*7}} \\u003c"
)


def make_run(
    path: Path, *, num_steps: int = 40, rollouts_every: int = 10, resumed: bool = False
) -> RunFolder:
    """A finished run of `num_steps`."""
    rng = random.Random(3)
    run = RunFolder(path)
    with run.held():
        run.begin(CONFIG, seed=1, provenance={"model": "embedded base <tiny>"})
        store = RolloutStore(run.rollouts)
        for step in range(1, num_steps + 1):
            run.metrics.append(step, make_metrics(step, num_steps, rng))
            if step % rollouts_every == 0:
                groups = make_groups(step)
                store.write(step, groups, [[1.0, -1.0] * 3 for _ in groups])
            if resumed and step == num_steps // 3:
                run.resume(step)
        run.end(Status.FINISHED)
    return run
