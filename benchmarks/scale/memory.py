"""The plan's memory of a learner rank against bytes of tensors that are alive, on gloo.

    python -m benchmarks.scale.memory
    python -m benchmarks.scale.memory "FSDP 2" "experts 4"      only these

Every tensor that an operator makes on a rank is followed until it is freed, through a step of the
learner after its first; the peak is what is compared. Real ranks, real FSDP2, small models.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
import tempfile
import weakref
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from munro.base_model.config import ParallelConfig
from munro.base_model.ladder import ModelShape
from munro.base_model.model import MunroConfig, MunroForCausalLM
from munro.machine.loading import check
from munro.machine.planning.job import Job, job_of
from munro.machine.planning.memory import learner_memory
from munro.rl.batch import Batch, build_batch
from munro.rl.clip import Clip
from munro.rl.config import LearnerConfig
from munro.rl.learner import Learner
from tests.builders import make_attempt, make_group, make_trajectory
from tests.forked import run_ranks
from tests.rl.builders import VOCAB, save_model

PROMPT, REPLY, ATTEMPTS = 8, 56, 4
MICRO = 2
"""Micro-batches of a step on a rank."""
BASE = {
    "hidden_size": 256, "num_heads": 8, "num_kv_heads": 4, "head_dim": 32, "window": 64,
    "dense_width": 512, "num_experts": 8, "top_k": 2, "latent_size": 128, "expert_width": 192,
    "vocab_size": VOCAB,
}  # fmt: skip
CASES: tuple[tuple[str, int, dict[str, int], dict[str, Any], dict[str, Any]], ...] = (
    ("one rank", 1, {}, {}, {}),
    ("one rank, recomputed", 1, {}, {"activation_checkpointing": True}, {}),
    ("FSDP 2", 2, {}, {"reduce_once": False}, {}),
    ("FSDP 2, summed once a step", 2, {}, {}, {}),
    ("FSDP 4", 4, {}, {"reduce_once": False}, {}),
    ("FSDP 4, dense model", 4, {}, {"reduce_once": False}, {"moe_every": 0, "num_experts": 0,
     "top_k": 0, "latent_size": 0, "expert_width": 0}),
    ("HSDP 2 x 2", 4, {"replicate": 2}, {"reduce_once": False}, {}),
    ("experts 2", 2, {"experts": 2}, {"reduce_once": False}, {}),
    ("experts 4", 4, {"experts": 4}, {"reduce_once": False}, {}),
    ("context 2", 2, {"context": 2}, {"reduce_once": False}, {}),
    ("context 2, experts 4", 4, {"context": 2, "experts": 4}, {"reduce_once": False}, {}),
)  # fmt: skip
"""Name, ranks, [learner.parallel], [learner], sizes of the model."""


class Alive(TorchDispatchMode):
    """The most bytes of tensors at once, those included that were there before."""

    def __init__(self, there: list[Tensor]) -> None:
        super().__init__()
        self._alive: dict[int, weakref.ref[Any]] = {}
        self.peak = 0
        self._note(there)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        made = func(*args, **(kwargs or {}))
        self._note([leaf for leaf in tree_leaves(made) if isinstance(leaf, Tensor)])
        return made

    def _note(self, tensors: list[Tensor]) -> None:
        for tensor in tensors:
            local = tensor._local_tensor if isinstance(tensor, DTensor) else tensor
            storage = local.untyped_storage()
            self._alive[storage._cdata] = weakref.ref(storage)
        found = {key: ref() for key, ref in self._alive.items()}
        self._alive = {key: ref for key, ref in self._alive.items() if found[key] is not None}
        self.peak = max(self.peak, sum(s.nbytes() for s in found.values() if s is not None))


def run(folder: Path) -> float:
    """On a rank: a step to have moments, then the peak of another."""
    task = pickle.loads((folder / "task.pkl").read_bytes())
    config: LearnerConfig = task["config"]
    learner = Learner(task["model"], config, seed=0)
    rank = int(os.environ.get("RANK", "0"))
    share = task["batch"].split(config.data_ranks)[config.data_rank(rank)]
    learner.step(share, clip=Clip())
    there = list(learner._policy.parameters())
    there += [x for state in learner._optimizer.state.values() for x in state.values()]
    with Alive([one for one in there if isinstance(one, Tensor)]) as alive:
        learner.step(share, clip=Clip())
    return float(alive.peak)


def batch(shares: int, each: int) -> Batch:
    """So many micro-batches for each share: attempts that are all as long."""
    random = torch.Generator().manual_seed(0)
    groups = []
    for index in range(shares * each):
        attempts = []
        for place in range(ATTEMPTS):
            reply = torch.randint(0, VOCAB, (REPLY,), generator=random).tolist()
            trajectory = make_trajectory(reply, prompt_ids=[index + 1] * PROMPT)
            attempts.append(make_attempt(float(place % 2), trajectory=trajectory))
        groups.append(make_group(index=index, attempts=tuple(attempts)))
    return build_batch(groups)


def planned(folder: str, ranks: int, parallel: dict[str, int], learner: dict[str, Any]) -> Job:
    """The same as a person would plan it."""
    tokens = ATTEMPTS * (PROMPT + REPLY) // parallel.get("context", 1)
    return job_of(
        check(
            {
                "num_steps": 1, "env": "arithmetic", "model": {"path": folder},
                "learner": {"ranks": ranks, "parallel": parallel, "token_budget": tokens,
                            "share_prompts": False, **learner},
                "rollout": {"top_p": 1.0}, "length": {"stages": [REPLY]},
                "plan": {"prompt_tokens": PROMPT},
            },
            source="a case",
        )
    )  # fmt: skip


def measured(
    case: tuple[str, int, dict[str, int], dict[str, Any], dict[str, Any]],
) -> dict[str, Any]:
    """One row."""
    name, ranks, parallel, how, sizes = case
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        shape = ModelShape.rung(6, **(BASE | sizes))
        torch.manual_seed(0)
        model = MunroForCausalLM(MunroConfig.from_shape(shape, dropout=0.0))
        path = save_model(folder / "model", model)
        job = planned(path, ranks, parallel, how)
        config = job.config.learner.model_copy(
            update={"threads": 1, "parallel": ParallelConfig(**parallel)}
        )
        given = {"model": path, "config": config, "batch": batch(config.data_ranks, MICRO)}
        (folder / "task.pkl").write_bytes(pickle.dumps(given))
        ours = run_ranks("benchmarks.scale.memory", folder, ranks)
        parts = learner_memory(job)
    most, reckoned = max(ours), sum(parts.values())
    found = {"measured": most, "planned": reckoned} | parts
    return {
        "case": name,
        "error": round(reckoned / most - 1, 3),
        "MB": {part: round(size / 1e6, 2) for part, size in found.items()},
    }


if __name__ == "__main__":
    for case in CASES:
        if len(sys.argv) < 2 or case[0] in sys.argv[1:]:
            print(json.dumps(measured(case)), flush=True)
