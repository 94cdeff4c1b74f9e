"""The trainer core: next-token prediction from packed documents, killed and resumed bitwise.

    documents ──► packed rows ──► loss ──► clipped gradient ──► AdamW ──► metrics, checkpoint
        ^                                                                      |
        └────────────── cursor, optimizer and random states ◄──────────────────┘

Shape suffixes: B = rows, T = tokens of a row, V = vocabulary.
"""

from __future__ import annotations

import inspect
import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from base_model.checkpoint import Checkpoint
from base_model.config import PretrainConfig
from base_model.optim import adamw, set_learning_rate
from base_model.packing import Cursor, Lesson, PackedRows, attention_mask, has_target, pack
from base_model.schedule import schedule

UNFINISHED = "unfinished"
FINISHED = "model"
METRICS = "metrics.jsonl"


class Documents(Protocol):
    """An endless corpus, as a pure function, so that a resumed run reads what it would have."""

    def tokens(self, index: int, progress: float) -> Sequence[int] | Lesson:
        """Token ids of document `index`, read when `progress` (0 to 1) of the run is done.

        A `Lesson` where only some of them are to be learned.
        """
        ...


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


OnMetrics = Callable[[StepMetrics], None]


def pretrain(
    make_model: Callable[[], Any],
    tokenizer: Any,
    documents: Documents,
    config: PretrainConfig,
    *,
    folder: Path,
    provenance: dict[str, Any] | None = None,
    on_metrics: OnMetrics | None = None,
    device: str = "cpu",
) -> Checkpoint:
    """Train to the last step and return the finished checkpoint, `folder/model`.

    The same call after a kill goes on from `folder/unfinished`, and ends with the same weights bit
    for bit as a run that was never interrupted (same machine, same number of threads).

    Args:
        make_model: builds the untrained `PreTrainedModel`; called with the seed set.
        tokenizer: goes into the checkpoints.
        documents: what is read.
        config: how.
        folder: holds checkpoints and `metrics.jsonl`.
        provenance: recorded in the checkpoint beside the training's own figures.
        on_metrics: told every `log_every` steps and at the last one.
        device: where the model is trained, as torch names it.

    Raises:
        CheckpointError: the disk refused.
    """
    finished = Checkpoint(folder / FINISHED)
    if finished.exists:
        return finished
    folder.mkdir(parents=True, exist_ok=True)
    with _Threads(config.threads), torch.random.fork_rng(devices=[]):
        run = _Run(make_model, tokenizer, documents, config, folder, device)
        clock = _Clock(run.step, run.num_tokens)
        while run.step < config.num_steps:
            loss, grad_norm, learning_rate = run.take_step()
            if run.step % config.log_every == 0 or run.step == config.num_steps:
                metrics = clock.metrics(run, loss, grad_norm, learning_rate)
                with (folder / METRICS).open("a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(metrics)) + "\n")
                if on_metrics is not None:
                    on_metrics(metrics)
            if run.step % config.checkpoint_every == 0 and run.step < config.num_steps:
                run.save()
        checkpoint = run.finish(provenance or {})
    shutil.rmtree(folder / UNFINISHED, ignore_errors=True)
    return checkpoint


def language_loss(model: nn.Module, rows: PackedRows, *, apart: bool) -> Tensor:
    """Mean cross-entropy, in nats, over every learned token with a predecessor in its document.

    Where lessons leave most columns with nothing to learn, logits exist at the others only.
    """
    device = next(model.parameters()).device
    token_ids_BT = torch.from_numpy(rows.token_ids).to(device)
    document_BT = torch.from_numpy(rows.documents).to(device)
    position_BT = torch.from_numpy(rows.positions).to(device)
    mask = attention_mask(document_BT, next(model.parameters()).dtype) if apart else None
    predicted = has_target(document_BT) & torch.from_numpy(rows.learned[:, 1:]).to(device)
    target_BT = token_ids_BT[:, 1:]
    inputs = {"attention_mask": mask, "position_ids": position_BT, "use_cache": False}
    columns = predicted.any(dim=0).nonzero().flatten()
    if 2 * len(columns) < predicted.shape[1] and _chooses_logits(model):
        predicted, target_BT = predicted[:, columns], target_BT[:, columns]
        logits_BTV = model(input_ids=token_ids_BT, logits_to_keep=columns, **inputs).logits
    else:
        logits_BTV = model(input_ids=token_ids_BT, **inputs).logits[:, :-1]
    return F.cross_entropy(logits_BTV[predicted].float(), target_BT[predicted])


def _chooses_logits(model: nn.Module) -> bool:
    return "logits_to_keep" in inspect.signature(model.forward).parameters


class _Run:
    """Everything that changes from step to step, and how it is saved and restored."""

    def __init__(
        self,
        make_model: Callable[[], Any],
        tokenizer: Any,
        documents: Documents,
        config: PretrainConfig,
        folder: Path,
        device: str,
    ) -> None:
        torch.manual_seed(config.seed)
        self._tokenizer, self._documents = tokenizer, documents
        self._config, self._folder = config, folder
        self._unfinished = Checkpoint(folder / UNFINISHED)
        self._schedule = schedule(config.schedule, config.num_steps)
        self.step = self.num_tokens = 0
        self._cursor = Cursor()
        resuming = self._unfinished.exists
        self._model = self._unfinished.model(dtype="auto") if resuming else make_model()
        self._model.to(device).train()
        self._optimizer = adamw(self._model, config.optimizer)
        if resuming:
            self._restore(self._unfinished.trainer_state())
        _keep_metrics(folder / METRICS, up_to=self.step)

    def take_step(self) -> tuple[float, float, float]:
        """Read a batch and learn from it; returns loss, gradient norm, learning rate."""
        config = self._config
        progress = self.step / config.num_steps
        rows, self._cursor = pack(
            lambda index: self._documents.tokens(index, progress),
            self._cursor,
            rows=config.batch_rows,
            row_tokens=config.row_tokens,
            apart=config.keep_documents_apart,
        )
        learning_rate = config.optimizer.learning_rate * self._schedule(self.step)
        set_learning_rate(self._optimizer, learning_rate)
        loss = language_loss(self._model, rows, apart=config.keep_documents_apart)
        loss.backward()  # type: ignore[no-untyped-call]
        grad_norm = nn.utils.clip_grad_norm_(
            self._model.parameters(), config.optimizer.max_grad_norm
        )
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self.num_tokens += rows.num_tokens
        return loss.item(), grad_norm.item(), learning_rate

    def save(self) -> None:
        """Write the checkpoint from which the run can go on."""
        Checkpoint.write(
            self._unfinished.path,
            model=self._model,
            tokenizer=self._tokenizer,
            trainer_state={
                "step": self.step,
                "num_tokens": self.num_tokens,
                "cursor": (self._cursor.document, self._cursor.offset),
                "optimizer": self._optimizer.state_dict(),
                "torch_rng": torch.get_rng_state(),
            },
        )

    def finish(self, provenance: dict[str, Any]) -> Checkpoint:
        """Write the checkpoint that others start from: no trainer state, but where it is from."""
        training = self._config.model_dump(mode="json")
        return Checkpoint.write(
            self._folder / FINISHED,
            model=self._model,
            tokenizer=self._tokenizer,
            provenance={**provenance, "training": training, "num_tokens": self.num_tokens},
        )

    def _restore(self, state: dict[str, Any]) -> None:
        self.step, self.num_tokens = state["step"], state["num_tokens"]
        self._cursor = Cursor(*state["cursor"])
        self._optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["torch_rng"])


class _Clock:
    """Rates since this process began, which a resumed run must not mix with the last one's."""

    def __init__(self, step: int, num_tokens: int) -> None:
        self._step, self._num_tokens, self._began = step, num_tokens, time.monotonic()

    def metrics(
        self, run: _Run, loss: float, grad_norm: float, learning_rate: float
    ) -> StepMetrics:
        config = run._config
        seconds = max(time.monotonic() - self._began, 1e-9)
        return StepMetrics(
            step=run.step,
            num_steps=config.num_steps,
            loss=loss,
            grad_norm=grad_norm,
            learning_rate=learning_rate,
            num_tokens=run.num_tokens,
            tokens_per_s=(run.num_tokens - self._num_tokens) / seconds,
            seconds_left=seconds / (run.step - self._step) * (config.num_steps - run.step),
        )


class _Threads:
    """Use this many CPU threads for a while; 0 leaves the number alone."""

    def __init__(self, threads: int) -> None:
        self._threads = threads

    def __enter__(self) -> None:
        self._before = torch.get_num_threads()
        if self._threads:
            torch.set_num_threads(self._threads)

    def __exit__(self, *_: object) -> None:
        torch.set_num_threads(self._before)


def _keep_metrics(file: Path, *, up_to: int) -> None:
    """Drop the lines of steps that were lost with a killed process and will be taken again."""
    if not file.is_file():
        return
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= up_to]
    draft = file.with_suffix(".draft")
    draft.write_text("".join(kept), encoding="utf-8")
    draft.replace(file)
