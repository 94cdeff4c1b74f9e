"""The model being trained, its optimizer, and one step of it. Plain: no Ray here.

Batch ──► micro-batches ──► log-probs ──► loss ──► gradients ──► clip ──► AdamW
                                                                            │
inference servers ◄── publish ── weights ◄──────────────────────────────────┘
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoTokenizer
from transformers.core_model_loading import revert_weight_conversion

from munro.base_model.checkpoint import Checkpoint
from munro.base_model.model.balance import GlobalLoad, balance_loss, violation_rate
from munro.base_model.training.sharding import (
    like,
    optimizer_state,
    restore_optimizer,
    whole,
    world,
)
from munro.envs.types import KeptTokens
from munro.kernels import vector_math
from munro.rl.batch import Batch, StepReport
from munro.rl.clip import Clip
from munro.rl.config import LearnerConfig
from munro.rl.loss import policy_loss
from munro.rl.metrics import idle, merged, report
from munro.rl.policy.model import Policy, UnsupportedModel, layout_for, load_model, set_dropout
from munro.rl.policy.packing import Layout, MicroBatch, lay_out
from munro.rl.policy.sequences import Bundle, TrainingSequence
from munro.rollout.engine import WeightSource


class LearnerDiverged(Exception):
    """A loss or gradient norm is not finite; no step was taken."""


class WeightTransfer(Protocol):
    """How weights reach the inference servers; `munro.rollout.weights` has them."""

    def publish(self, named_tensors: Any, version: int) -> WeightSource:
        """Put (name, tensor) pairs where servers can read them."""
        ...


class Learner:
    """One rank of the learner; with one rank, all of it.

    Args:
        model_path: folder of a transformers causal LM with its tokenizer.
        config: optimizer and micro-batches.
        seed: of dropout, the only randomness here.
        temperature: the rollouts' sampling temperature; logits are divided by it.
        entropy_estimator: which estimate `StepReport.entropy` carries.

    Raises:
        CheckpointError: the folder lacks something.
        UnsupportedModel: the model's logits are made in a way the learner does not know.

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
        _set_threads(config)
        self._config, self._seed, self._temperature = config, seed, temperature
        self._estimator: Literal["plain", "clipped"] = entropy_estimator
        self._world = world()
        device = self._world.device
        if device.type == "cpu":
            vector_math.settle()
            torch.use_deterministic_algorithms(True)
            # deterministic mode would fill every new buffer with NaN before it is written
            torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        self._path = str(model_path)
        model = load_model(self._path, device=device)
        set_dropout(model, config.dropout)
        if config.activation_checkpointing:
            model.gradient_checkpointing_enable()
        policy = Policy(model, tile=config.logits_chunk)
        self._layout = layout_for(policy, share_prompts=config.share_prompts, device=device)
        # at this many tokens a row's attention costs about what the rest of a layer does: 2 widths
        # of multiplications a column against 12 widths squared a token, and slower ones
        self._width = 5 * int(model.config.get_text_config().hidden_size)
        self._policy = self._world.shard(policy)
        self._optimizer = torch.optim.AdamW(
            self._policy.parameters(),
            lr=config.learning_rate,
            betas=config.betas,
            eps=config.eps,
            weight_decay=config.weight_decay,
            fused=True,
        )
        self._num_steps = 0

    def step(self, batch: Batch, *, clip: Clip) -> StepReport:
        """One optimizer step on this rank's share of a batch.

        A global batch without signal changes nothing and reports entropy NaN.

        Returns:
            The global batch's figures, the same on every rank.

        Raises:
            LearnerDiverged: loss or gradient norm is not finite; the weights are as before.
        """
        if not batch.num_global_tokens:
            return idle(batch)
        torch.manual_seed(hash((self._seed, self._num_steps, self._world.rank)))
        self._policy.train()
        self._optimizer.zero_grad(set_to_none=True)
        sums = self._world.summed(self._gradients(batch, clip))
        norm = whole(
            torch.nn.utils.clip_grad_norm_(self._policy.parameters(), self._config.max_grad_norm)
        )
        for name, figure in (("loss", sums["learner/loss"]), ("gradient norm", float(norm))):
            if not math.isfinite(figure):
                self._optimizer.zero_grad(set_to_none=True)
                raise LearnerDiverged(
                    f"optimizer step {self._num_steps + 1}: the {name} is {figure}. "
                    "No step was taken; resume from the last checkpoint, with a lower learning "
                    "rate or a tighter clip.outer if it happens again."
                )
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self._num_steps += 1
        return report(sums, batch, grad_norm=float(norm), estimator=self._estimator)

    def score(self, token_ids: Sequence[Sequence[int]]) -> list[NDArray[np.float32]]:
        """Log-probability of each token given those before it, for the proof of a weight update.

        Temperature 1, whole vocabulary; entry 0 of each is 0. The contract of `Engine.score`.
        """
        sequences = [_to_score(ids) for ids in token_ids]
        long = [index for index, sequence in enumerate(sequences) if sequence.sampled.any()]
        result = [np.zeros(len(ids), np.float32) for ids in token_ids]
        self._policy.eval()
        for index in long:
            # one at a time: rows are sorted by length otherwise, and the proof is a few sequences
            layout = Layout.PACKED if self._layout is Layout.PACKED else Layout.PADDED
            bundle = Bundle(num_shared=0, sequences=(sequences[index],))
            (micro,) = lay_out([bundle], self._config.token_budget, layout=layout, width=1)
            with torch.no_grad(), self._autocast():
                logp, _ = self._policy(micro, temperature=1.0)
            result[index][1:] = logp.float().cpu().numpy()
        return result

    def publish(self, transfer: WeightTransfer, version: int) -> WeightSource | None:
        """Put the weights where inference servers can read them.

        Every rank must call it; rank 0 returns the source, the others None.
        """
        weights = self._weights()
        if self._world.rank == 0:
            return transfer.publish(weights, version)
        for _ in weights:
            pass
        return None

    def save(self, folder: str | Path, provenance: Mapping[str, Any]) -> None:
        """Write a checkpoint that transformers loads and `load` resumes from. Every rank calls it.

        Raises:
            CheckpointError: the disk refused; what stood there before still does.
        """
        model = self._policy.model
        state = {name: whole(value).cpu() for name, value in model.state_dict().items()}
        trainer_state = {
            "num_steps": self._num_steps,
            "optimizer": optimizer_state(model, self._optimizer),
        }
        if self._world.rank == 0:
            Checkpoint.write(
                folder,
                model=model,
                tokenizer=AutoTokenizer.from_pretrained(self._path),
                trainer_state=trainer_state,
                provenance=provenance,
                state_dict=state,
            )

    def load(self, folder: str | Path) -> None:
        """Resume from a checkpoint of `save`: weights, optimizer and progress, exactly.

        Raises:
            CheckpointError: the checkpoint is incomplete.
            ValueError: it is of another model.
        """
        checkpoint = Checkpoint(folder)
        saved = checkpoint.model(dtype=torch.float32)
        named = dict(saved.named_parameters())
        model = self._policy.model
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name not in named or named[name].shape != parameter.shape:
                    raise ValueError(f"{folder} holds another model: {name!r} is not like ours")
                parameter.copy_(like(named[name], parameter))
        state = checkpoint.trainer_state()
        restore_optimizer(model, self._optimizer, state["optimizer"])
        self._num_steps = int(state["num_steps"])

    def _gradients(self, batch: Batch, clip: Clip) -> dict[str, float]:
        """Add up the gradients of this rank's micro-batches; return its sums."""
        micros = batch.micro_batches(
            self._config.token_budget, layout=self._layout, width=self._width
        )
        # agreed on first: from here on every pass is a sequence of collectives
        num_passes = self._world.largest(len(micros))
        load = GlobalLoad()
        sums: dict[str, float] = {}
        for micro in micros:
            loss, metrics = self._loss(micro, clip, batch.num_global_tokens, load)
            # FSDP averages gradients over the ranks, but each loss is a share of the global mean
            (loss * self._world.size).backward()  # type: ignore[no-untyped-call]
            metrics["learner/loss"] = loss.detach()
            figures = {name: float(value) for name, value in metrics.items()}
            figures["learner/computed_tokens"] = float(micro.token_ids.size)
            sums = merged(sums, figures)
        self._keep_pace(num_passes - len(micros), load)
        if load.counts_ME is not None:
            sums["learner/expert_violation/max"] = float(violation_rate(load.counts_ME).max())
        return sums

    def _loss(
        self, micro: MicroBatch, clip: Clip, num_global_tokens: int, load: GlobalLoad
    ) -> tuple[Tensor, dict[str, Tensor]]:
        with self._autocast():
            logp_T, routing = self._policy(
                micro, temperature=self._temperature, replay=self._replays(micro)
            )
        logp_T = logp_T.float()
        behaviour_logp_T, advantage_T = (
            torch.from_numpy(array).to(logp_T.device)
            for array in (micro.behaviour_logp, micro.advantages)
        )
        loss, metrics = policy_loss(
            logp_T,
            behaviour_logp_T,
            advantage_T,
            torch.ones_like(logp_T, dtype=torch.bool),
            clip=clip,
            num_global_tokens=num_global_tokens,
        )
        if routing is None or not self._config.balance:
            return loss, metrics
        balance = balance_loss(load.add(routing.counts), routing.probability)
        # micro-batches share in the step's balance as they do in its tokens
        share = len(logp_T) / num_global_tokens
        metrics["learner/balance_loss"] = balance.detach() * len(logp_T)
        return loss + self._config.balance * share * balance, metrics

    def _keep_pace(self, num_passes: int, load: GlobalLoad) -> None:
        """Take part in the collectives of ranks that have more micro-batches than this one."""
        bundle = Bundle(num_shared=0, sequences=(_to_score([0, 0]),))
        (micro,) = lay_out([bundle], 64, layout=Layout.PADDED, width=1)
        for _ in range(num_passes):
            with self._autocast():
                logp, routing = self._policy(micro, temperature=1.0)
            if routing is not None and self._config.balance:
                load.add(torch.zeros_like(routing.counts))
            (logp.sum() * 0.0).backward()

    def _replays(self, micro: MicroBatch) -> bool:
        can = micro.routed_experts is not None and self._policy.repeats_routing
        if self._config.replay_routing == "require" and not can:
            raise UnsupportedModel(
                'learner.replay_routing = "require", but '
                + (
                    "the rollouts carry no routed experts."
                    if micro.routed_experts is None
                    else f"{type(self._policy.model).__name__} takes no routed_experts."
                )
                + ' Set it to "auto" to train without.'
            )
        return can and self._config.replay_routing != "off"

    def _autocast(self) -> torch.autocast:
        device = self._world.device.type
        return torch.autocast(device, torch.bfloat16, enabled=device == "cuda")

    def _weights(self) -> Iterator[tuple[str, Tensor]]:
        """Names as in the published checkpoint, tied weights once, in the servers' precision."""
        on_gpu = self._world.device.type == "cuda"
        dtype = torch.bfloat16 if on_gpu else torch.float32
        model = self._policy.model
        saved = model.state_dict().keys()
        buffers = ((name, buffer) for name, buffer in model.named_buffers() if name in saved)
        named = (
            (name, whole(tensor.detach()).to(dtype))
            for name, tensor in (*model.named_parameters(), *buffers)
        )
        if getattr(model, "_weight_conversions", None):
            # transformers renames or fuses weights of some models while it loads them
            yield from revert_weight_conversion(model, dict(named)).items()
        else:
            yield from named


def _to_score(ids: Sequence[int]) -> TrainingSequence:
    """A sequence whose every token but the first counts, over the whole vocabulary."""
    num = len(ids)
    return TrainingSequence(
        token_ids=np.asarray(ids, np.int32),
        sampled=np.arange(num) > 0,
        behaviour_logp=np.zeros(num, np.float32),
        kept=KeptTokens.nothing(num),
        advantage=0.0,
    )


def _set_threads(config: LearnerConfig) -> None:
    """Give this rank its threads; by default an even share of the cores it may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    torch.set_num_threads(config.threads or max(1, (cores or 1) // config.ranks))
