"""Selecting 100,000 of a million stored traces by the report's rule, against the same in pandas.

    python benchmarks/base_model/selection.py           # 1,000,000 traces, 1.25 GB on disk
    python benchmarks/base_model/selection.py --traces 50000 --most 5000

Writes a made-up store with the store's own writer, then lets both sides take turns, each time in a
process of its own, so that its peak memory is its own too. Both take the last half of the steps,
passed traces only, in rounds over the prompts; they draw other traces, so what must be equal is how
many traces they take of how many prompts. Prints seconds (imports not counted) and peak memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parents[2]))

GROUP, GROUPS_OF_A_STEP, TOKENS, PROMPTS = 128, 8, 200, 5_000
COLUMNS = ["trace", "step", "env", "task_id", "solved"]


def fill(folder: Path, num_traces: int) -> None:
    """Write a store step by step, as a climb does."""
    import numpy as np

    from munro.envs.types import Ending, KeptTokens, Message, Task, Trajectory
    from munro.rewards.combine.compose import RewardBreakdown
    from munro.rewards.types import Grade
    from munro.rollout.store.store import RolloutStore
    from munro.rollout.types import Attempt, Group

    rng = np.random.default_rng(0)
    sampled = np.arange(TOKENS) >= TOKENS // 4

    def attempt(version: int, is_right: bool) -> Attempt:
        trajectory = Trajectory(
            token_ids=rng.integers(0, 32_000, TOKENS, np.int32),
            sampled=sampled,
            behaviour_logp=-rng.random(TOKENS, np.float32),
            kept=KeptTokens.nothing(TOKENS),
            versions=np.where(sampled, version, -1).astype(np.int32),
            ending=Ending.ANSWERED,
            messages=(Message(role="assistant", content="So it is 42."),),
            reply="So it is 42.",
        )
        reward = float(is_right)
        return Attempt(
            trajectory=trajectory,
            grade=Grade(reward=reward, passed=is_right),
            reward=RewardBreakdown(task=reward, total=reward + rng.random()),
        )

    def groups(step: int) -> Iterator[Group]:
        for place in range(GROUPS_OF_A_STEP):
            number = step * GROUPS_OF_A_STEP + place
            name = f"problem-{rng.integers(PROMPTS)}"
            right = rng.random(GROUP) < rng.uniform(0.1, 0.8)
            yield Group(
                index=number,
                task=Task(id=name, prompt=f"Solve {name}.", env="made-up"),
                attempts=tuple(attempt(step, bool(one)) for one in right),
                early_pass_rate=0.5,
            )

    store = RolloutStore(folder)
    for step in range(1, num_traces // (GROUP * GROUPS_OF_A_STEP) + 1):
        store.write(step, list(groups(step)), [[0.0] * GROUP] * GROUPS_OF_A_STEP)


def ours(run: Path, most: int) -> tuple[float, list[int]]:
    """Seconds, and how many traces each prompt gave."""
    import numpy as np

    from munro.distill.config import SelectConfig
    from munro.distill.select import rows_of
    from munro.distill.sources import Source, read_index, stored_steps

    start = time.perf_counter()
    rule = SelectConfig(most_traces=most)
    source = Source(run=run, name="made-up")
    index = read_index([source], [stored_steps(source, rule.window)])
    chosen = rows_of(index, rule.model_copy(update={"window": (0.0, 1.0)}))
    names = index.names(chosen)
    seconds = time.perf_counter() - start
    assert len(set(names)) == len(names)
    return seconds, np.unique(index.prompt[chosen], return_counts=True)[1].tolist()


def pandas(run: Path, most: int) -> tuple[float, list[int]]:
    """The same, as one would write it in pandas."""
    import numpy as np
    import pandas as pd
    import pyarrow.parquet  # noqa: F401 - imports are not counted on either side

    start = time.perf_counter()
    steps = pd.read_parquet(run / "rollouts", columns=["step"])["step"].unique()
    half = np.sort(steps)[round(len(steps) / 2)]
    wanted = [("step", ">=", half), ("solved", "==", True)]
    frame = pd.read_parquet(run / "rollouts", columns=COLUMNS, filters=wanted)
    frame["prompt"] = frame["env"].astype(str) + "\x1f" + frame["task_id"].astype(str)
    frame = frame.sample(frac=1, random_state=0)
    frame["round"] = frame.groupby("prompt").cumcount()
    frame = frame.sort_values("round", kind="stable").head(most)
    names = frame["trace"].tolist()
    seconds = time.perf_counter() - start
    assert len(set(names)) == len(names)
    return seconds, frame["prompt"].value_counts().tolist()


SIDES = {"ours": ours, "pandas": pandas}


def turn(side: str, run: Path, most: int) -> dict[str, object]:
    """One side in a process of its own."""
    command = [sys.executable, __file__, "--side", side, "--run", str(run), "--most", str(most)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{side} failed:\n{done.stderr}")
    found: dict[str, object] = json.loads(done.stdout)
    return found


def compare(run: Path, most: int, rounds: int) -> int:
    """Let the sides take turns, and print; exit status 1 where they took something else."""
    found: dict[str, list[dict[str, object]]] = {side: [] for side in SIDES}
    for _ in range(rounds):
        for side in SIDES:
            found[side].append(turn(side, run, most))
    size = sum(file.stat().st_size for file in (run / "rollouts").iterdir())
    files = len(list((run / "rollouts").iterdir()))
    print(f"store: {size / 1e9:.2f} GB in {files} files; {most:,} traces taken")
    result: dict[str, object] = {"gb": round(size / 1e9, 2), "taken": most}
    for side, turns in found.items():
        seconds = statistics.median(float(str(one["seconds"])) for one in turns)
        memory = max(float(str(one["gb"])) for one in turns)
        print(f"{side:<8}{seconds:8.1f} s median of {rounds}, peak memory {memory:.2f} GB")
        result |= {f"{side}_s": round(seconds, 2), f"{side}_gb": round(memory, 2)}
    ratio = float(str(result["pandas_s"])) / float(str(result["ours_s"]))
    shapes = {json.dumps(one["traces_of_a_prompt"]) for turns in found.values() for one in turns}
    same = len(shapes) == 1
    print(f"pandas / ours: {ratio:.2f}; as many traces of as many prompts on both sides: {same}")
    print(json.dumps({**result, "ratio": round(ratio, 2)}))
    return int(not same)


def main() -> int:
    """Parent: fill the store and compare. Child: one turn of one side."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--traces", type=int, default=1_000_000)
    parser.add_argument("--most", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", default="", help="keep the store here, and use it again")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        seconds, counts = SIDES[given.side](given.run, given.most)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
        shape = sorted(Counter(counts).items())
        print(json.dumps({"seconds": seconds, "gb": peak, "traces_of_a_prompt": shape}))
        return 0
    with TemporaryDirectory(prefix="munro-select-") as scratch:
        run = Path(given.folder or scratch)
        if not (run / "rollouts").is_dir():
            start = time.perf_counter()
            fill(run / "rollouts", given.traces)
            print(f"wrote {given.traces:,} traces in {time.perf_counter() - start:.0f} s")
        return compare(run, given.most, given.rounds)


if __name__ == "__main__":
    sys.exit(main())
