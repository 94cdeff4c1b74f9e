"""Whole weights against an adapter, on the same steps of the same model: memory, time, bytes sent.

    python benchmarks/lora.py --model models/smollm2
    python benchmarks/lora.py                              # the embedded quickstart base

Each side is the learner alone, in a process of its own: it loads the model, takes the same steps on
the same random groups, publishes its weights and writes a checkpoint. The sides take turns. What an
engine costs is the same but for the adapters that it holds, and is not measured here.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

SIDES = ("whole", "adapter")


def side(kind: str, work: dict[str, Any], folder: Path) -> dict[str, float]:
    """What one side costs, measured in this process."""
    import numpy as np

    from munro.base_model.adapters.config import LoraConfig
    from munro.machine.climb.adapters import told, transfer
    from munro.machine.loading import from_overrides
    from munro.rl.batch import build_batch
    from munro.rl.clip import Clip
    from munro.rl.learner import Learner

    config = from_overrides([("num_steps", "1"), ("env", "arithmetic")])
    lora = LoraConfig(rank=work["rank"]) if kind == "adapter" else None
    how = config.learner.model_copy(
        update={"lora": lora, "token_budget": work["token_budget"], "learning_rate": 1e-5}
    )
    config = config.model_copy(update={"learner": how})
    learner = Learner(work["model"], how, seed=0)
    vocabulary = learner._policy.config.get_text_config().vocab_size
    rng = np.random.default_rng(0)
    seconds = []
    for _ in range(1 + work["steps"]):
        batch = build_batch(groups(rng, vocabulary, work))
        began = time.perf_counter()
        learner.step(batch, clip=Clip())
        seconds.append(time.perf_counter() - began)
    sent = transfer(str(folder / "sent"), told(config, Path(work["model"]), learner=True))
    began = time.perf_counter()
    learner.publish(sent, 1)
    publishing = time.perf_counter() - began
    learner.save(folder / "saved", {})
    trained = sum(p.numel() for p in learner._policy.parameters() if p.requires_grad)
    return {
        "trained": trained,
        "step_s": median(seconds[1:]),
        "publish_s": publishing,
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
        "sent_mb": size_of(folder / "sent") / 1e6,
        "checkpoint_mb": size_of(folder / "saved") / 1e6,
    }


def groups(rng: Any, vocabulary: int, work: dict[str, Any]) -> list[Any]:
    """Groups of random tokens, whose rewards differ so that all of them are trained."""
    import numpy as np

    from munro.envs.types import Ending, KeptTokens, Message, Task, Trajectory
    from munro.rewards.combine.compose import RewardBreakdown
    from munro.rewards.types import Grade
    from munro.rollout.types import Attempt, Group

    made = []
    for index in range(work["groups"]):
        prompt = rng.integers(2, vocabulary, work["prompt"])
        attempts = []
        for number in range(work["group_size"]):
            ids = np.array([*prompt, *rng.integers(2, vocabulary, work["reply"])], np.int32)
            sampled = np.arange(len(ids)) >= len(prompt)
            trajectory = Trajectory(
                token_ids=ids,
                sampled=sampled,
                behaviour_logp=np.where(sampled, -8.0, 0).astype(np.float32),
                kept=KeptTokens.nothing(len(ids)),
                versions=np.where(sampled, 0, -1).astype(np.int32),
                ending=Ending.ANSWERED,
                messages=(Message(role="assistant", content=""),),
                reply="",
            )
            passed = number % 2 == 0
            attempts.append(
                Attempt(
                    trajectory=trajectory,
                    grade=Grade.of(passed),
                    reward=RewardBreakdown(task=float(passed), total=float(passed)),
                )
            )
        task = Task(id=str(index), env="random", prompt="", payload={})
        made.append(Group(index=index, task=task, attempts=tuple(attempts), early_pass_rate=0.5))
    return made


def size_of(folder: Path) -> int:
    """Bytes of its files."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def measured(kind: str, work: dict[str, Any]) -> dict[str, float]:
    """One side, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, __file__, "--side", kind, folder, json.dumps(work)],
            env=os.environ,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        sys.exit(f"{kind}: {done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def model_folder(named: str) -> str:
    """The model that is named, or the embedded base, made if need be."""
    if named:
        return str(Path(named).expanduser().absolute())
    from munro.base_model.config import BaseConfig
    from munro.base_model.small.quickstart import build_base
    from munro.envs.arithmetic import is_held_out

    return str(build_base(BaseConfig(), is_held_out=is_held_out).path)


def main() -> None:
    """Read the command line, let the sides take turns, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default="", help="folder; the embedded base if left out")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    for name, number in {
        "steps": 3, "groups": 8, "group_size": 16, "prompt": 100, "reply": 12, "token_budget": 2048,
    }.items():  # fmt: skip
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=number)
    parser.add_argument("--side", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        kind, folder, work = given.side
        print(json.dumps(side(kind, json.loads(work), Path(folder))))
        return
    work = {k: v for k, v in vars(given).items() if k not in ("side", "rounds")}
    work["model"] = model_folder(given.model)
    found: dict[str, list[dict[str, float]]] = {kind: [] for kind in SIDES}
    for _ in range(given.rounds):
        for kind in SIDES:
            found[kind].append(measured(kind, work))
    table = {
        kind: {name: median(one[name] for one in rounds) for name in rounds[0]}
        for kind, rounds in found.items()
    }
    print(f"{'':<16}{'whole weights':>16}{f'rank {given.rank}':>16}{'ratio':>10}")
    for name, whole in table["whole"].items():
        adapter = table["adapter"][name]
        print(f"{name:<16}{whole:>16,.3f}{adapter:>16,.3f}{whole / adapter:>10.2f}")
    print(json.dumps({"work": work, **table}))


if __name__ == "__main__":
    main()
