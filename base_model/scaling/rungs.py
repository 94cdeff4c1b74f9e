"""Train what a plan says, several side by side, and score it: from plans to results.

    plans ──► worker processes ──► pretrain ──► held-out NLL ──► result.jsonl of each training

A training that is done is not done again; one that was interrupted goes on. Workers end with the
process that started them, so that none goes on writing beside its successor.
"""

from __future__ import annotations

import json
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

from munro.base_model.data.shards.texts import LadderText
from munro.base_model.results import TrainedRun, as_line, category_of, read_results
from munro.base_model.scaling.plan import Plan
from munro.base_model.training.goodput import LEDGER, NS, Ledger, read_goodput

RESULT = "result.jsonl"
POLL_S = 1.0
TAIL_BYTES = 1 << 14
"""More than two lines of metrics."""


class RungFailed(Exception):
    """A training of a ladder failed; says which and why, in one sentence."""

    is_sentence = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far one training is.

    Example:
        Progress(plan=plan, step=120, loss=3.1, seconds_left=75.0, done=False)
    """

    plan: Plan
    step: int
    loss: float
    """Nats per token of the last batch that was logged; NaN before the first."""
    seconds_left: float
    done: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What all trainings of a ladder share."""

    text: LadderText
    folder: Path
    """Holds a folder for each training."""
    device: str = "cpu"
    workers: int = 1

    def place(self, plan: Plan) -> Path:
        """Folder of a training; another plan has another."""
        return self.folder / f"{plan.name}-{plan.rung}-{plan.key(self.text.key)}"

    def result(self, plan: Plan) -> TrainedRun | None:
        """What a training came to, if it is done."""
        file = self.place(plan) / RESULT
        return read_results(file)[0] if file.is_file() else None


def train_all(
    plans: Sequence[Plan],
    setting: Setting,
    *,
    on_progress: Callable[[Sequence[Progress]], None] | None = None,
) -> list[TrainedRun]:
    """Train every plan that is not done yet, the costliest first; results in the plans' order.

    Args:
        plans: what to train.
        setting: where, and how many side by side.
        on_progress: told about once a second, and at the end.

    Raises:
        RungFailed: the device is not there; or some trainings failed, after the others were
            finished.
    """
    told = on_progress or (lambda _: None)
    left = [plan for plan in plans if setting.result(plan) is None]
    left.sort(key=lambda plan: -plan.flops)
    if left:
        _check_device(setting.device)
        _train(left, plans, setting, told)
    told([_progress(plan, setting) for plan in plans])
    return [run for run in map(setting.result, plans) if run is not None]


def train(plan: Plan, setting: Setting) -> TrainedRun:
    """Train one plan in this process, or go on with it, and write its result.

    Raises:
        RungFailed: the loss is no number.
    """
    from munro.base_model.ladder import ShapeError
    from munro.base_model.model.model import MunroConfig, MunroForCausalLM
    from munro.base_model.training.pretrain import pretrain
    from munro.base_model.training.run_log import EVALUATION, Measuring

    folder, text = setting.place(plan), setting.text
    folder.mkdir(parents=True, exist_ok=True)
    row_tokens = plan.training.row_tokens
    if unknown := sorted(set(plan.model) - set(MunroConfig.__annotations__)):
        raise ShapeError(f"model: {unknown[0]} is no field of the model's configuration.")
    tokenizer = text.tokenizer()
    documents = text.mixture(plan.weights, kept=plan.kept, seed=plan.training.seed)
    documents.check(plan.num_tokens)
    config = MunroConfig.from_shape(
        plan.shape,
        max_position_embeddings=row_tokens,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **plan.model,
    )
    ledger = Ledger(folder / LEDGER)
    ledger.begin()
    checkpoint = pretrain(
        lambda: MunroForCausalLM(config),
        tokenizer,
        documents,
        plan.training,
        folder=folder,
        provenance={"ladder": {"name": plan.name, "rung": plan.rung, "shape": asdict(plan.shape)}},
        device=setting.device,
        measuring=Measuring(held_out=text.held_out(tokenizer, row_tokens), ledger=ledger),
    )
    num_tokens = int(checkpoint.provenance()["num_tokens"])
    return _conclude(plan, setting, _losses(folder / EVALUATION, text), num_tokens)


def _losses(file: Path, text: LadderText) -> dict[str, float]:
    """Nats per token by "category/set"."""
    from munro.base_model.training.evaluation import read_reference

    scores = read_reference(file)
    categories = dict(zip(text.config.names, text.config.sources, strict=True))
    return {f"{categories[name].category}/{name}": nll for name, nll in scores.items()}


def _conclude(
    plan: Plan, setting: Setting, losses: dict[str, float], num_tokens: int
) -> TrainedRun:
    folder = setting.place(plan)
    if bad := [name for name, loss in losses.items() if not math.isfinite(loss)]:
        raise RungFailed(f"its loss on {category_of(bad[0])} is {losses[bad[0]]}")
    run = TrainedRun(
        name=plan.name,
        rung=plan.rung,
        flops=plan.shape.flops_per_token(plan.training.row_tokens) * num_tokens,
        # hiccups of a shared machine are no part of what a step costs
        seconds=read_goodput(folder / LEDGER).ideal / NS,
        losses=losses,
    )
    line = as_line(
        run,
        active=plan.shape.num_params(active=True),
        total=plan.shape.num_params(),
        tokens=num_tokens,
        learning_rate=plan.training.optimizer.learning_rate,
        seed=plan.training.seed,
        sources=dict(plan.weights),
    )
    draft = folder / f".{RESULT}"
    draft.write_text(line, encoding="utf-8")
    draft.replace(folder / RESULT)
    return run


def _check_device(device: str) -> None:
    import torch

    if device.partition(":")[0] == "cuda" and not torch.cuda.is_available():
        raise RungFailed(f'device = "{device}", but torch finds no such device: say device = "cpu"')


def _train(
    left: Sequence[Plan],
    plans: Sequence[Plan],
    setting: Setting,
    told: Callable[[Sequence[Progress]], None],
) -> None:
    context = get_context("spawn")
    stop = context.Event()
    failed: list[str] = []
    with ProcessPoolExecutor(
        min(setting.workers, len(left)),
        mp_context=context,
        initializer=_bound_to,
        initargs=(os.getpid(), stop),
    ) as pool:
        waiting: dict[Future[str], Plan] = {
            pool.submit(_in_worker, plan, setting): plan for plan in left
        }
        try:
            while waiting:
                told([_progress(plan, setting) for plan in plans])
                for future in wait(waiting, POLL_S, "FIRST_COMPLETED").done:
                    if sentence := _outcome(future, waiting.pop(future)):
                        failed.append(sentence)
        except BaseException:
            stop.set()
            raise
    if failed:
        more = f" ({len(failed) - 1} more failed)" if len(failed) > 1 else ""
        raise RungFailed(failed[0] + more)


def _outcome(future: Future[str], plan: Plan) -> str:
    try:
        sentence = future.result()
    except BrokenProcessPool:
        sentence = "its process was killed, perhaps for want of memory; the same command goes on"
    return f"{plan.name} at {plan.rung}: {sentence}" if sentence else ""


def _in_worker(plan: Plan, setting: Setting) -> str:
    """Train; a failure that a person can mend comes back as its sentence."""
    from munro.base_model.checkpoint import CheckpointError
    from munro.base_model.data.errors import DataError
    from munro.base_model.data.shards.held_out import BadEvaluation
    from munro.base_model.ladder import ShapeError
    from munro.base_model.training.records import RecordsError
    from munro.base_model.training.trainer import TrainingError

    mendable = (
        BadEvaluation,
        CheckpointError,
        DataError,
        RecordsError,
        RungFailed,
        ShapeError,
        TrainingError,
        OSError,
    )
    try:
        train(plan, setting)
    except mendable as error:
        return str(error)
    return ""


def _bound_to(parent: int, stop: Event) -> None:
    """Make this worker end when its parent does, or when it is told to, whatever it is at."""

    def watch() -> None:
        while os.getppid() == parent and not stop.is_set():
            time.sleep(POLL_S / 2)
        os._exit(1)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=watch, daemon=True).start()


def _progress(plan: Plan, setting: Setting) -> Progress:
    from munro.base_model.training.run_log import METRICS

    folder = setting.place(plan)
    last = _last(folder / METRICS)
    return Progress(
        plan=plan,
        step=int(last.get("step", 0)),
        loss=float(last.get("loss", math.nan)),
        seconds_left=float(last.get("seconds_left", math.nan)),
        done=(folder / RESULT).is_file(),
    )


def _last(file: Path) -> dict[str, Any]:
    """The last whole line of a file that is being written; looked up often, so only its end."""
    if not file.is_file():
        return {}
    with file.open("rb") as lines:
        lines.seek(max(0, file.stat().st_size - TAIL_BYTES))
        *whole, _ = lines.read().split(b"\n")
    return json.loads(whole[-1]) if whole else {}
