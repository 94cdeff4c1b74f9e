"""What a training run tells: metrics, evaluations, spikes, and where its wall-clock went."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from munro.base_model.config import PretrainConfig
from munro.base_model.data.shards.held_out import HeldOutSet
from munro.base_model.training.evaluation import evaluate
from munro.base_model.training.goodput import Ledger, Span
from munro.base_model.training.records import Records, write_whole
from munro.base_model.training.sharding import World
from munro.base_model.training.spikes import shares_by_source
from munro.base_model.training.trainer import Documents, Taken, Trainer

METRICS = "metrics.jsonl"
SPIKES = "spikes.jsonl"
EVALUATION = "evaluation.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepMetrics:
    """One line of `metrics.jsonl`, and what `on_metrics` is told."""

    step: int
    """Optimizer steps taken."""
    num_steps: int
    loss: float
    """Nats per predicted token of this step's batch."""
    grad_norm: float
    """Before clipping."""
    learning_rate: float
    num_tokens: int
    """Tokens read since the run began."""
    tokens_per_s: float
    """Since this process began or resumed."""
    seconds_left: float
    figures: Mapping[str, float] = field(default_factory=dict)
    """Whatever else was measured, as "area/noun"; keys of their own in the line."""


OnMetrics = Callable[[StepMetrics], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measuring:
    """What is measured beside loss and gradient; nothing unless asked for.

    Example:
        Measuring(held_out=(prose, code), flops_per_token=shape.flops_per_token(512))
    """

    held_out: Sequence[HeldOutSet] = ()
    """Scored every `evaluate_every` steps and after the last."""
    reference: Mapping[str, float] | None = None
    """NLL of the reference model by set, which normalises the target."""
    flops_per_token: float = 0.0
    """Operations of training on one token, forward and backward, for the utilisation."""
    ledger: Ledger = field(default_factory=lambda: Ledger(None))
    """Where the wall-clock is booked."""
    phase: str = ""
    """Name of the run in the ledger."""


class RunLog:
    """Writes down how a run goes; on the first rank only.

    Args:
        folder: of the run.
        trainer: what goes on.
        config: of the training.
        measuring: what is measured.
        on_metrics: told every line of metrics.
        world: the ranks.
    """

    def __init__(
        self,
        folder: Path,
        trainer: Trainer,
        config: PretrainConfig,
        measuring: Measuring,
        on_metrics: OnMetrics | None,
        world: World,
    ) -> None:
        self._folder, self._trainer, self._config = folder, trainer, config
        self._measuring, self._on_metrics, self._world = measuring, on_metrics, world
        self._metrics, self._spikes = Records(folder / METRICS), Records(folder / SPIKES)
        if world.rank == 0:
            for records in (self._metrics, self._spikes):
                records.keep(up_to=trainer.step)
        self._first_step, self._first_tokens = trainer.step, trainer.num_tokens
        self._began = self._marked = time.monotonic()
        self._step_s: list[float] = []
        self._tokens_marked = trainer.num_tokens

    def began(self) -> None:
        """Everything is loaded."""
        self._mark(Span.START)
        self._began = time.monotonic()

    def stepped(self, documents: Documents, taken: Taken, progress: float) -> None:
        """A step was taken; a spike is written down and the next step compared with this one.

        Args:
            documents: what is read.
            taken: the step.
            progress: at which it read.
        """
        trainer = self._trainer
        self._step_s.append(self._mark(Span.STEP))
        spike = trainer.watch.spike(taken.loss, taken.grad_norm)
        trainer.watch = trainer.watch.after(taken.loss, taken.grad_norm)
        if spike is not None and self._world.rank == 0:
            sources = shares_by_source(documents, taken.documents, progress)
            experts = taken.expert_figures()
            self._spikes.append({"step": trainer.step, **spike, "sources": sources, **experts})

    def evaluated(self) -> dict[str, float]:
        """Score the held-out sets now; every rank takes part."""
        measuring = self._measuring
        if not measuring.held_out:
            return {}
        scores = evaluate(
            self._trainer.model,
            measuring.held_out,
            micro_rows=self._config.micro_rows or self._config.batch_rows // self._world.data_size,
            world=self._world,
            autocast=self._config.precision == "bfloat16",
        )
        if self._world.rank == 0 and self._trainer.step == self._config.num_steps:
            write_whole(self._folder / EVALUATION, scores.to_json())
        self._mark(Span.EVALUATION)
        return scores.metrics(measuring.reference)

    def saved(self) -> None:
        """A checkpoint was handed to its writer."""
        self._mark(Span.CHECKPOINT)

    def write(self, taken: Taken, figures: Mapping[str, float]) -> None:
        """Write a line of metrics for the last step."""
        if self._world.rank:
            return
        seconds = max(time.monotonic() - self._began, 1e-9)
        trainer, steps = self._trainer, self._trainer.step - self._first_step
        metrics = StepMetrics(
            step=trainer.step,
            num_steps=self._config.num_steps,
            loss=taken.loss,
            grad_norm=taken.grad_norm,
            learning_rate=taken.learning_rate,
            num_tokens=trainer.num_tokens,
            tokens_per_s=(trainer.num_tokens - self._first_tokens) / seconds,
            seconds_left=seconds / steps * (self._config.num_steps - trainer.step),
            figures={**taken.expert_figures(), **figures, **self._rates()},
        )
        line = asdict(metrics)
        more = line.pop("figures")
        self._metrics.append({**line, **more})
        if self._on_metrics is not None:
            self._on_metrics(metrics)

    def _rates(self) -> dict[str, float]:
        """Seconds of a step, and model FLOPs utilisation, since the last line."""
        seconds = sum(self._step_s)
        tokens = self._trainer.num_tokens - self._tokens_marked
        rates = {"time/step": seconds / max(len(self._step_s), 1)}
        peak = self._config.peak_flops * self._world.size
        if peak and self._measuring.flops_per_token and seconds:
            rates["speed/mfu"] = self._measuring.flops_per_token * tokens / (seconds * peak)
        self._step_s, self._tokens_marked = [], self._trainer.num_tokens
        return rates

    def _mark(self, span: Span) -> float:
        """Book the span that ends now; returns its seconds as this process saw them."""
        now = time.monotonic()
        seconds, self._marked = now - self._marked, now
        if self._world.rank == 0:
            step = self._trainer.step if span is Span.STEP else 0
            self._measuring.ledger.mark(span, phase=self._measuring.phase, step=step)
        return seconds
