"""Munro's side of `step_vs_trl.py`: a vLLM engine and a learner, taking turns.

One step samples the groups, grades them, makes one optimizer step and puts the new weights into the
engine: the same parts that `munro climb` runs, in one process and without Ray between them.
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "src"))
os.environ["HF_HUB_OFFLINE"] = "1"

import torch
import transformers
from step_work import Parent, Work, questions, reward

from munro.envs.types import Message, Task, Trajectory
from munro.rewards.combine.compose import RewardBreakdown
from munro.rewards.types import Grade
from munro.rl.batch import build_batch
from munro.rl.clip import Clip
from munro.rl.config import LearnerConfig
from munro.rl.learner import Learner
from munro.rollout.config import RolloutConfig
from munro.rollout.episode import Limits, play
from munro.rollout.lockstep import Lockstep
from munro.rollout.render import Renderer, renderer
from munro.rollout.types import Attempt, Group
from munro.rollout.vllm.engine import VllmEngine
from munro.rollout.weights import SharedMemoryWeights, place

CONTEXT = 256
TOKEN_BUDGET = 2048
"""Of a micro-batch and of its logits, as in configs/smollm2.toml: what fits a laptop beside the
engine."""


class Side:
    """Engine and learner on the same weights."""

    def __init__(self, work: Work, threads: int) -> None:
        self.work = work
        self.version = 0
        self.config = RolloutConfig(
            group_size=work.num_samples,
            num_early=work.num_samples,
            max_batch=work.num_prompts * work.num_samples,
            top_p=1.0,
            dtype=work.dtype,
        )
        self.renderer: Renderer = renderer(
            transformers.AutoTokenizer.from_pretrained(work.model), "chat"
        )
        self.renderer.stop_token_ids = ()
        self.engine = VllmEngine(work.model, self.config, seed=0, max_context=CONTEXT)
        self.learner = Learner(
            work.model,
            LearnerConfig(
                learning_rate=work.learning_rate,
                threads=threads,
                precision=work.dtype,
                token_budget=TOKEN_BUDGET,
                logits_chunk=TOKEN_BUDGET,
            ),
            seed=0,
        )
        self.weights = SharedMemoryWeights(place(f"benchmark-{os.getpid()}"))

    async def step(self, number: int) -> dict[str, Any]:
        """One optimizer step, on-policy; its seconds by phase."""
        start = time.perf_counter()
        groups = await self._groups(number)
        sampled = time.perf_counter()
        batch = build_batch(groups)
        self.learner.step(batch, clip=Clip())
        trained = time.perf_counter()
        await self._sync()
        end = time.perf_counter()
        return {
            "seconds": end - start,
            "sample_s": sampled - start,
            "train_s": trained - sampled,
            "sync_s": end - trained,
            "tokens": batch.num_global_tokens,
            "reward": sum(a.reward.total for g in groups for a in g.attempts)
            / sum(len(group.attempts) for group in groups),
            "learner_peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
        }

    async def _groups(self, number: int) -> list[Group]:
        tasks = [
            Task(id=f"{number}/{index}", prompt=question, env="sums")
            for index, question in enumerate(questions(self.work, number))
        ]
        lockstep = Lockstep([self.engine], version=self.version, deadline_s=600.0, patience_s=0.0)
        keys = [(t, a) for t in range(len(tasks)) for a in range(self.work.num_samples)]
        played = await lockstep.run(
            [
                self._attempt(tasks[task], lockstep, (task, attempt, number))
                for task, attempt in keys
            ]
        )
        return [
            Group(
                index=number * len(tasks) + index,
                task=task,
                attempts=tuple(
                    graded(trajectory)
                    for (owner, _), trajectory in zip(keys, played, strict=True)
                    if owner == index
                ),
                early_pass_rate=1.0,
            )
            for index, task in enumerate(tasks)
        ]

    async def _attempt(
        self, task: Task, lockstep: Lockstep, key: tuple[int, int, int]
    ) -> Trajectory:
        limits = Limits(max_response_tokens=self.work.num_tokens, max_context=CONTEXT)
        return await play(
            task, nothing_to_say, lockstep.generate, self.renderer, limits, seed=0, key=key
        )

    async def _sync(self) -> None:
        self.version += 1
        source = self.learner.publish(self.weights, self.version)
        assert source is not None, "the only rank publishes"
        await self.engine.update_weights(source, drain=True)


async def nothing_to_say(_: Message) -> Sequence[Message] | None:
    """The environment's reply: one turn is all there is."""
    return None


def graded(trajectory: Trajectory) -> Attempt:
    """An attempt with the benchmark's reward."""
    paid = reward(trajectory.reply)
    return Attempt(
        trajectory=trajectory,
        grade=Grade.of(paid),
        reward=RewardBreakdown(task=paid, total=paid),
    )


def main() -> None:
    """`step_munro.py WORK THREADS`: take steps until the parent hangs up."""
    work, threads = Work.from_json(sys.argv[1]), int(sys.argv[2])
    parent = Parent()
    with asyncio.Runner() as runner:
        side = Side(work, threads)
        versions = {module.__name__: module.__version__ for module in (transformers, torch)}
        parent.say({"versions": versions, "threads": torch.get_num_threads()})
        try:
            for number in range(sys.maxsize):
                parent.wait()
                parent.say(runner.run(side.step(number)))
        finally:
            runner.run(side.engine.close())
            side.weights.close()


if __name__ == "__main__":
    main()
