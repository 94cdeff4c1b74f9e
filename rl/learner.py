"""The model being trained, its optimizer, and one step of it. Plain: no Ray here.

Batch ──► micro-batches ──► log-probs ──► loss ──► gradients ──► clip ──► optimizer
                                                                            │
inference servers ◄── publish ── weights ◄──────────────────────────────────┘
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from munro.base_model.adapters.attach import left_out
from munro.base_model.device.compiling import compile_layers
from munro.base_model.device.fetch import fetched
from munro.base_model.sharded.stage import Stage
from munro.base_model.training.repeatable import repeat
from munro.base_model.training.sharding import working_dtype, world
from munro.rewards.plugins import BadPlugin
from munro.rl import saving
from munro.rl.batch import Batch, StepReport
from munro.rl.clip import Clip
from munro.rl.config import LearnerConfig
from munro.rl.metrics import idle, report
from munro.rl.passes import Passes
from munro.rl.plugs import Loss
from munro.rl.policy.adapter import base_folder
from munro.rl.policy.allocator import keep_freed_blocks, map_large_blocks
from munro.rl.policy.footprint import token_budget
from munro.rl.policy.loading import layout_for, spread_policy
from munro.rl.policy.model import Policy
from munro.rl.policy.optimizers import make_optimizer
from munro.rl.policy.reference import reference_of
from munro.rl.policy.sequences import TrainingSequence
from munro.rl.policy.sizes import TOKENS_ON_A_CPU
from munro.rl.ports import LearnerDiverged, WeightTransfer
from munro.rl.rate import rate_of
from munro.rl.shards import HeldWeights
from munro.rollout.engine import WeightSource
from munro.rollout.transfer.sending import GroupWeights

log = logging.getLogger(__name__)


class Learner:
    """One rank of the learner; with one rank, all of it.

    Args:
        model_path: folder of a transformers causal LM with its tokenizer.
        config: optimizer and micro-batches.
        seed: of dropout, and of a new adapter's first values.
        temperature: the rollouts' sampling temperature; logits are divided by it.
        entropy_estimator: which estimate `StepReport.entropy` carries.

    Raises:
        CheckpointError: the folder lacks something.
        UnsupportedModel: the model's logits are made in a way the learner does not know.
        CannotSpread: the model cannot lie over the meshes that the config asks for.
        BadAdapter: the config asks for an adapter that cannot be put on the model.
        BadPlugin: the config's loss cannot be used.
        NoOptimizer: the config's optimizer cannot be used.

    Example:
        learner = Learner("runs/base", LearnerConfig(learning_rate=1e-4), seed=0, temperature=1.0)
        learner.step(build_batch(groups), clip=Clip())
    """

    def __init__(
        self,
        model_path: str | Path,
        config: LearnerConfig,
        *,
        seed: int,
        temperature: float = 1.0,
        entropy_estimator: Literal["plain", "clipped"] = "plain",
    ) -> None:
        self._seed, self._path = seed, str(model_path)
        self._estimator: Literal["plain", "clipped"] = entropy_estimator
        halved = config.in_bfloat16(on_gpu=torch.cuda.is_available())
        self._world = world(config.parallel, bfloat16=halved)
        working = working_dtype(self._world, bfloat16=halved)
        _settle(config, self._world.device)
        compiled = partial(_compile, config=config, device=self._world.device)
        policy = spread_policy(self._path, config, self._world, seed=seed, before=compiled)
        self._config = config = _budgeted(config, policy, self._path, self._world.device)
        layout = layout_for(policy, share_prompts=config.share_prompts)
        if self._world.size == 1:
            policy.add_in_place()
        self._policy = policy
        self._passes = Passes(
            policy=self._policy,
            world=self._world,
            config=config,
            layout=layout,
            temperature=temperature,
            loss=Loss.of(config.loss),
            reference=reference_of(self._path, config, self._world, self._policy),
            working=working,
        )
        self._optimizer = make_optimizer(self._policy, config)
        self._saving = saving.Saving(self._policy.model, self._world, tokenizer_from=self._path)
        self._rate = rate_of(config)
        self._peaks = [float(group["lr"]) for group in self._optimizer.param_groups]
        self._num_steps = 0
        self._held: HeldWeights | None = None
        if self._world.device.type == "cpu" and config.lora is None:
            keep_freed_blocks()

    def step(self, batch: Batch, *, clip: Clip) -> StepReport:
        """One optimizer step on this rank's share of a batch.

        A global batch without signal changes nothing and reports entropy NaN.

        Returns:
            The global batch's figures, the same on every rank.

        Raises:
            LearnerDiverged: loss or gradient norm is not finite; the weights are as before.
            BadPlugin: the loss function returned what is no loss, or NaN of log-probs that are
                finite.
        """
        if not batch.num_global_tokens:
            return idle(batch)
        torch.manual_seed(hash((self._seed, self._num_steps, self._world.rank)))
        self._policy.train()
        self._optimizer.zero_grad(set_to_none=True)
        sums = self._world.summed(self._passes.gradients(batch, clip))
        norm = self._world.clip(self._policy.parameters(), self._config.max_grad_norm)
        self._require_finite(sums, norm)
        rate = self._set_rate()
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self._num_steps += 1
        found = report(sums, batch, grad_norm=norm, estimator=self._estimator)
        return replace(found, metrics={**found.metrics, **rate})

    def _set_rate(self) -> dict[str, float]:
        """Give the optimizer this step's learning rate, and tell it where there is a schedule."""
        if self._rate is None:
            return {}
        share = self._rate(self._num_steps)
        for group, peak in zip(self._optimizer.param_groups, self._peaks, strict=True):
            group["lr"] = peak * share
        return {"learner/learning_rate": self._config.learning_rate * share}

    def score(
        self, token_ids: Sequence[Sequence[int]], *, base: bool = False
    ) -> list[NDArray[np.float32]]:
        """Log-probability of each token given those before it, for the proof of a weight update.

        Temperature 1, whole vocabulary; entry 0 of each is 0. The contract of `Engine.score`.
        """
        self._policy.eval()
        with left_out(self._policy.model) if base else nullcontext():
            return self._passes.scores(token_ids)

    def token_logp(self, sequences: Sequence[TrainingSequence]) -> list[NDArray[np.float32] | None]:
        """Log-probability of every sampled token as a step would compute it now, for people.

        Each sequence goes alone, so the last bits may differ from those of a step.

        Returns:
            Of each sequence (S,) over its sampled tokens in their order; None where it is a tree
            whose branches this model takes as rows of their own.
        """
        self._policy.eval()
        return self._passes.token_logp(sequences)

    def publish(self, transfer: WeightTransfer, version: int) -> WeightSource | None:
        """Put the weights, or those of the adapter alone, where inference servers can read them.

        Every rank must call it; rank 0 returns the source, the others None. Where each rank sends
        what it holds, nothing is gathered.
        """
        if isinstance(transfer, GroupWeights):
            self._held = self._held or HeldWeights(self._policy.model, self._world)
            shards = self._held.now(again=transfer.withdraw())
            return transfer.publish_shards(
                shards, version, rank=self._world.rank, device=self._world.device
            )
        weights = saving.published(self._policy.model, self._world)
        if self._world.device.type == "cuda" and transfer.through_host:
            weights = fetched(weights)
        if self._world.rank == 0:
            return transfer.publish(weights, version)
        for _ in weights:
            pass
        return None

    def release(self) -> None:
        """Give back what passes have left in the GPU's allocator: a server there may want it."""
        if self._world.device.type == "cuda":
            torch.cuda.empty_cache()

    def save(
        self,
        folder: str | Path,
        provenance: Mapping[str, Any],
        *,
        wait: bool = True,
        export: bool = True,
    ) -> None:
        """Write a checkpoint that `load` resumes from. Every rank calls it.

        Args:
            folder: what stands there is replaced.
            provenance: goes into it.
            wait: until it stands. Without, several ranks return once they have copied what they
                write, and one or an adapter's as ever.
            export: of several ranks: make the model that transformers loads afterwards.

        Raises:
            CheckpointError: the disk refused; what stood there before still does.
        """
        self._saving.save(
            folder,
            self._optimizer,
            num_steps=self._num_steps,
            provenance=provenance,
            export=export,
        )
        if wait:
            self._saving.wait()

    def saving(self) -> Stage:
        """Whether a checkpoint's pieces are being written, or, while it stands, its model made.

        Raises:
            CheckpointError: it could not be; what stood there before still does.
        """
        return self._saving.saving()

    def load(self, folder: str | Path) -> None:
        """Resume from a checkpoint of `save`: weights, optimizer and progress, exactly.

        Raises:
            CheckpointError: the checkpoint is incomplete.
            ValueError: it is of another model.
        """
        self._num_steps = saving.load(folder, self._policy.model, self._optimizer)

    def _is_the_loss_to_blame(self, sums: Mapping[str, float]) -> bool:
        """Whether a loss of somebody else's made no number of numbers that are in order."""
        given = (sums["policy/logp_diff"], sums.get("policy/reference_kl", 0.0))
        return not self._passes.loss.is_ours and all(map(math.isfinite, given))

    def _require_finite(self, sums: Mapping[str, float], norm: float) -> None:
        loss = sums["learner/loss"]
        for name, figure in (("loss", loss), ("gradient norm", norm)):
            if not math.isfinite(figure):
                self._optimizer.zero_grad(set_to_none=True)
                if name == "loss" and self._is_the_loss_to_blame(sums):
                    raise BadPlugin(
                        f"optimizer step {self._num_steps + 1}: learner.loss = "
                        f"{self._config.loss!r} returned {figure} for log-probabilities that are "
                        "finite. No step was taken; mend the loss and start the run again."
                    )
                raise LearnerDiverged(
                    f"optimizer step {self._num_steps + 1}: the {name} is {figure}. "
                    "No step was taken; resume from the last checkpoint, with a lower learning "
                    "rate or a tighter clip.outer if it happens again."
                )


def _compile(policy: Policy, *, config: LearnerConfig, device: torch.device) -> None:
    if said := compile_layers(policy, config.compile, device):
        log.warning(said)


def _budgeted(
    config: LearnerConfig, policy: Policy, path: str, device: torch.device
) -> LearnerConfig:
    """The config with as many tokens in a micro-batch as there is room for, if it leaves that open.

    By the whole of a GPU's memory: a server that shares it sleeps while a step is taken.
    """
    if config.token_budget:
        return config
    budget = TOKENS_ON_A_CPU
    if device.type == "cuda":
        sizes = {p: p.numel() for p in policy.parameters()}
        trained = sum(size for p, size in sizes.items() if p.requires_grad)
        budget = token_budget(
            Path(base_folder(path, config.lora)),
            config,
            parameters=sum(sizes.values()) - (trained if config.lora else 0),
            trained=trained,
            vocabulary=policy.vocabulary,
            gpu_bytes=torch.cuda.get_device_properties(device).total_memory,
        )
        log.info("learner.token_budget = 0 comes to %d tokens a micro-batch", budget)
    return config.model_copy(update={"token_budget": budget})


def _settle(config: LearnerConfig, device: torch.device) -> None:
    """Threads, the same bits in every run, and on the CPU no memory that loading leaves over."""
    _set_threads(config)
    if device.type == "cpu":
        map_large_blocks()
    repeat(device)


def _set_threads(config: LearnerConfig) -> None:
    """Give this rank its threads; by default an even share of the cores it may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    torch.set_num_threads(config.threads or max(1, (cores or 1) // config.ranks))
