"""Forward and backward passes of one rank: a batch's gradients, and the scores of texts.

Batch ──► micro-batches ──► log-probs ──► loss ──► gradients, sums for the step's report
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from munro.base_model.device.feed import ahead
from munro.base_model.device.figures import Figures
from munro.base_model.device.working import gradients_aside, working_copy
from munro.base_model.model.balance import GlobalLoad, balance_loss, violation_rate
from munro.base_model.training.sharding import World, give_back, reduce_next
from munro.envs.types import KeptTokens
from munro.kernels.gradient import grad_of
from munro.rl.batch import Batch
from munro.rl.clip import Clip
from munro.rl.config import LearnerConfig
from munro.rl.loss import MEASURED, measured
from munro.rl.metrics import merged
from munro.rl.plugs import Loss
from munro.rl.policy.device import DeviceBatch, on_device
from munro.rl.policy.model import Policy, UnsupportedModel
from munro.rl.policy.packing import Layout, MicroBatch, planned
from munro.rl.policy.reference import Reference, kl_to
from munro.rl.policy.sequences import Bundle, TrainingSequence

UNBOUNDED = 1 << 40
"""Tokens: more than any row has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Passes:
    """What this rank's passes need; it changes nothing but the gradients of `policy`."""

    policy: Policy
    world: World
    config: LearnerConfig
    layout: Layout
    temperature: float
    """The rollouts' sampling temperature; logits are divided by it."""
    loss: Loss
    reference: Reference | None = None
    """What `config.kl_weight` measures the distance to."""
    working: torch.dtype | None = None
    """What the weights are computed with in, if not in what they are held in."""

    def gradients(self, batch: Batch, clip: Clip) -> dict[str, float]:
        """Add up the gradients of this rank's micro-batches; return its sums.

        The device is asked for a number once, when all of them are under way.
        """
        plans = batch.planned(self._budget(), layout=self.layout, width=self._row_width())
        # agreed on first: from here on every pass is a sequence of collectives
        num_passes = self.world.largest(len(plans))
        load, figures = GlobalLoad(), Figures()
        embeddings = self.policy.get_input_embeddings()
        if getattr(embeddings, "sparse", False):
            grad_of(embeddings.weight)  # rows are added to it; the first would else stand for it
        with self._working():
            for micro in self._fed(plans):
                self._reduce_in_pass(len(figures), num_passes)
                with gradients_aside(self.policy):
                    loss, metrics = self._loss(micro, clip, batch, load)
                # FSDP averages gradients over the ranks, but each loss is a share of the global
                # mean
                (loss * self.world.size).backward()  # type: ignore[no-untyped-call]
                metrics["learner/loss"] = loss.detach()
                figures.add(metrics | {"learner/computed_tokens": micro.num_tokens})
            self._keep_pace(len(plans), num_passes, load)
        if load.counts_ME is not None:
            figures.add({"learner/expert_violation/max": violation_rate(load.counts_ME).max()})
            *told, more = figures.read()
        else:
            told, more = figures.read(), {}
        sums: dict[str, float] = {}
        for figures_of_one in told:
            sums = merged(sums, figures_of_one)
        return self._once(sums) | more

    def _once(self, sums: dict[str, float]) -> dict[str, float]:
        """Of ranks that compute the same micro-batches only the first has any sums of them."""
        if self.world.context is None or not self.world.context.rank:
            return sums
        return {name: sums[name] if name.endswith("/max") else 0.0 for name in sums}

    def _fed(self, plans: Sequence[Callable[[], MicroBatch]]) -> Iterator[DeviceBatch]:
        """The micro-batches on the device, each laid out while the one before is computed."""
        return ahead([partial(self._made, plan) for plan in plans], self.world.device)

    def _made(self, plan: Callable[[], MicroBatch]) -> DeviceBatch:
        return on_device(
            plan(),
            self.world.device,
            vocabulary=self.policy.vocabulary,
            context=self.world.context,
        )

    def scores(self, token_ids: Sequence[Sequence[int]]) -> list[NDArray[np.float32]]:
        """See `Learner.score`; the policy must be in evaluation mode."""
        result = [np.zeros(len(ids), np.float32) for ids in token_ids]
        # as rows are laid out, so that what comes back is one sequence after another
        long = sorted(
            (index for index, ids in enumerate(token_ids) if len(ids) > 1),
            key=lambda index: -len(token_ids[index]),
        )
        if not long:
            return result
        bundle = Bundle(num_shared=0, sequences=tuple(_to_score(token_ids[i]) for i in long))
        layout = Layout.PACKED if self.layout.is_one_row else Layout.PADDED
        plans = planned([bundle], self._budget(), layout=layout, width=1)
        with torch.no_grad(), self._working(), self._autocast():
            logps = [self.policy(micro, temperature=1.0)[0] for micro in self._fed(plans)]
        give_back(self.policy)
        told = torch.cat(logps).float().cpu().numpy()
        ends = np.cumsum([len(token_ids[index]) - 1 for index in long])
        for index, part in zip(long, np.split(told, ends[:-1]), strict=True):
            result[index][1:] = part
        return result

    def token_logp(self, sequences: Sequence[TrainingSequence]) -> list[NDArray[np.float32] | None]:
        """See `Learner.token_logp`; the policy must be in evaluation mode."""
        found: list[NDArray[np.float32] | None] = []
        with torch.no_grad(), self._working(), self._autocast():
            for sequence in sequences:
                if not sequence.sampled.any() or (sequence.forks and not self.layout.shares):
                    found.append(None)
                    continue
                bundle = Bundle(num_shared=0, sequences=(sequence,))
                width = self._row_width()
                (plan,) = planned([bundle], self._budget(), layout=self.layout, width=width)
                micro = self._made(plan)
                logp, _ = self.policy(
                    micro, temperature=self.temperature, replay=self._replays(micro)
                )
                found.append(logp.float().cpu().numpy())
        give_back(self.policy)
        return found

    def _budget(self) -> int:
        """Tokens of a micro-batch, over all ranks that compute it together."""
        context = self.world.context
        return self.config.token_budget * (context.size if context else 1)

    def _row_width(self) -> int:
        """Tokens of a row at which its attention costs about what the rest of a layer does.

        2 widths of multiplications a column against 12 widths squared a token, and slower ones.
        Any number, where attention computes only what is seen (on a CPU all but that with a soft
        cap or sinks, which few models have: their rows are wide too).
        """
        if self.policy.takes_rows:
            return UNBOUNDED
        return 5 * int(self.policy.config.get_text_config().hidden_size)

    def _loss(
        self, micro: DeviceBatch, clip: Clip, batch: Batch, load: GlobalLoad
    ) -> tuple[Tensor, dict[str, Tensor]]:
        logp_T, routing = self._logp(micro, replay=self._replays(micro))
        sampled_T = torch.ones_like(logp_T, dtype=torch.bool)
        given = (logp_T, micro.behaviour_logp, micro.advantages, sampled_T)
        loss, metrics = self.loss(
            *given,
            clip=clip,
            num_global_tokens=batch.num_global_tokens,
            offered={
                "sequence_T": micro.sequences,
                "num_global_sequences": batch.num_global_sequences,
                "tokens_per_sequence": self.config.tokens_per_sequence,
            },
        )
        if not metrics.keys() >= MEASURED:
            # what steers the clip and is drawn is known whatever the loss
            metrics = measured(*given, clip=clip) | metrics
        if self.reference is not None:
            kl = kl_to(self._referred(self.reference, micro), logp_T).sum()
            loss = loss + self.config.kl_weight * kl / batch.num_global_tokens
            metrics = metrics | {"policy/reference_kl": kl.detach()}
        if routing is None or not self.config.balance:
            return loss, metrics
        balance = balance_loss(load.add(routing.counts), routing.probability)
        # micro-batches share in the step's balance as they do in its tokens
        share = len(logp_T) / batch.num_global_tokens
        metrics["learner/balance_loss"] = balance.detach() * len(logp_T)
        return loss + self.config.balance * share * balance, metrics

    def _referred(self, reference: Reference, micro: DeviceBatch) -> Tensor:
        with self._autocast():
            return reference(micro, temperature=self.temperature).float()

    def _logp(self, micro: DeviceBatch, *, replay: bool = False) -> tuple[Tensor, Any]:
        """[T] float32 with its gradient, and how experts were used.

        Where an adapter drops some of what it reads, the numbers are those of the whole adapter,
        which is what sampled, and the gradient is that of what was left: a ratio that ought to be 1
        is, and the loss weighs tokens by what they are.
        """
        with self._autocast():
            logp_T, routing = self.policy(micro, temperature=self.temperature, replay=replay)
        if self.config.lora is None or not self.config.lora.dropout:
            return logp_T.float(), routing
        self.policy.eval()
        with torch.no_grad(), self._autocast():
            whole_T, _ = self.policy(micro, temperature=self.temperature, replay=replay)
        self.policy.train()
        return whole_T.float() + (logp_T - logp_T.detach()).float(), routing

    def _reduce_in_pass(self, number: int, num_passes: int) -> None:
        """Sum gradients over the ranks in the last pass of all, or in every one."""
        reduce_next(self.policy, not self.config.reduce_once or number + 1 == num_passes)

    def _keep_pace(self, done: int, num_passes: int, load: GlobalLoad) -> None:
        """Take part in the collectives of ranks that have more micro-batches than this one."""
        if done == num_passes:
            return
        bundle = Bundle(num_shared=0, sequences=(_to_score([0, 0]),))
        (plan,) = planned([bundle], 64, layout=Layout.PADDED, width=1)
        micro = self._made(plan)
        for number in range(done, num_passes):
            self._reduce_in_pass(number, num_passes)
            logp, routing = self._logp(micro)
            if self.reference is not None:
                self._referred(self.reference, micro)
            if routing is not None and self.config.balance:
                load.add(torch.zeros_like(routing.counts))
            (logp.sum() * 0.0).backward()  # type: ignore[no-untyped-call]

    def _replays(self, micro: DeviceBatch) -> bool:
        can = micro.routed_experts is not None and self.policy.repeats_routing
        if self.config.replay_routing == "require" and not can:
            raise UnsupportedModel(
                'learner.replay_routing = "require", but '
                + (
                    "the rollouts carry no routed experts."
                    if micro.routed_experts is None
                    else f"{type(self.policy.model).__name__} takes no routed_experts."
                )
                + ' Set it to "auto" to train without.'
            )
        return can and self.config.replay_routing != "off"

    def _working(self) -> AbstractContextManager[None]:
        return working_copy(self.policy, self.working)

    def _autocast(self) -> torch.autocast:
        device = self.world.device.type
        halved = self.config.in_bfloat16(on_gpu=device == "cuda")
        return torch.autocast(device, torch.bfloat16, enabled=halved)


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
