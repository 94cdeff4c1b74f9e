"""Carrying out a climb's restarts, while none of its processes run."""

from __future__ import annotations

import gc
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from munro.base_model.checkpoint import Checkpoint, CheckpointError
from munro.distill.config import DistillConfig
from munro.distill.sources import Source
from munro.machine.climb.interrupt import Interrupt
from munro.machine.climb.rebase import refuse_foreign
from munro.machine.climb.start import Start, restarted
from munro.machine.config import RunConfig
from munro.machine.loading import BadConfig
from munro.machine.run.console import Console
from munro.machine.run.folder import RunFolder
from munro.machine.run.restarts import (
    Plan,
    Request,
    Restart,
    drop_request,
    due,
    plain,
    read_request,
    read_restarts,
)
from munro.rl.control.journal import Journal
from munro.rl.state import ClimbState

if TYPE_CHECKING:
    from munro.distill.prepare import Account


class Restarts:
    """The restarts of one climb: says when one is due, and makes it."""

    def __init__(
        self,
        run: RunFolder,
        config: RunConfig,
        console: Console,
        interrupt: Interrupt,
        model: Path,
    ) -> None:
        self._run, self._config, self._model = run, config, model
        self._console, self._interrupt = console, interrupt
        self._made = read_restarts(run)
        self._known_good: Request | None = None

    def due(self, state: ClimbState) -> Plan | None:
        """The distillation to make now, or None; see `munro.machine.run.restarts.due`."""
        return due(
            self._config,
            state,
            self._made,
            model=str(self._model),
            request=self._request(),
        )

    def climbs_with(self) -> RunConfig:
        """The config that the climb samples with: another template, once traces are in it."""
        template = self._config.distill.template
        if not self._made or template == "keep":
            return self._config
        changed: dict[str, Any] = {"template": template}
        if template != "chat":
            changed["template_args"] = {}
        rollout = self._config.rollout.model_copy(update=changed)
        return self._config.model_copy(update={"rollout": rollout})

    def make(self, plan: Plan, state: ClimbState) -> Start:
        """Distil, and say so in run.json, journal and console; the climb's new beginning.

        What a killed process had done of it is not done again.

        Raises:
            CannotDistil: no trace is left, or the base will not do.
            CheckpointError: the base is missing, or the disk refused.
            KeyboardInterrupt: somebody asked for an end; the next start goes on with it.
        """
        steps = f"steps {plan.first_step} to {plan.last_step}"
        self._console.note(
            f"step {plan.step}: {plan.cause}. Distilling traces of {steps} onto {plan.base}"
        )
        from munro.distill.distil import distil  # seconds to import, for few steps

        name = f"distilled/step-{plan.step:06d}"
        source = Source(
            run=self._run.path,
            name=self._run.name,
            weight=1.0,
            first_step=plan.first_step,
            last_step=plan.last_step,
        )
        distil(
            [source],
            _base(plan, self._config),
            self._run.path / name,
            _recipe(self._config),
            on_progress=self._progress,
            on_account=self._tell_account,
        )
        _give_back_memory()
        restart = Restart(
            step=plan.step,
            cause=plan.cause,
            base=plan.base,
            first_step=plan.first_step,
            last_step=plan.last_step,
            checkpoint=name,
            state=state.restarted().to_json(),
            is_collapse=plan.is_collapse,
            request=plan.request,
        )
        self._remember(restart)
        self._console.note(f"★ distilled into {self._run.path / name}")
        return restarted(self._run, restart)

    def _remember(self, restart: Restart) -> None:
        journal = Journal(self._run.path / "journal.jsonl")
        journal.distilled(restart.step, restart.base)
        journal.close()
        self._made = (*self._made, restart)
        info = self._run.read_info()
        assert info is not None
        self._run.write_info(replace(info, restarts=tuple(plain(made) for made in self._made)))
        request = read_request(self._run)
        if request is not None and request.id == restart.request:
            drop_request(self._run, request)

    def _request(self) -> Request | None:
        """A request that may be followed; one that may not is told of and dropped."""
        request = read_request(self._run)
        if request is None or request == self._known_good:
            return request
        try:
            refuse_foreign(self._model, Path(request.base), self._config)
        except (BadConfig, CheckpointError) as wrong:
            self._console.note(f"the base that was asked for is refused: {wrong}")
            drop_request(self._run, request)
            return None
        self._known_good = request
        return request

    def _tell_account(self, account: Account) -> None:
        self._console.note(f"learning {account.traces:,} traces, {account.tokens:,} tokens")

    def _progress(self, metrics: Any) -> None:
        if self._interrupt.requested:
            raise KeyboardInterrupt
        self._console.phase(f"distilling, loss {metrics.loss:.3f}", metrics.step, metrics.num_steps)


def _recipe(config: RunConfig) -> DistillConfig:
    """What `[distill]` says about distilling, without what it says about when."""
    keys = DistillConfig.model_fields
    how = DistillConfig.model_validate({key: getattr(config.distill, key) for key in keys})
    if config.learner.lora is None:
        return how
    training = how.training.model_copy(update={"lora": config.learner.lora})
    return how.model_copy(update={"training": training})


def _base(plan: Plan, config: RunConfig) -> Path:
    """What is distilled onto: of an adapter its base, where a new adapter is trained.

    Raises:
        CheckpointError: the adapter's base is gone.
    """
    base = Path(plan.base)
    return base if config.learner.lora is None else Checkpoint(base).base()


def _give_back_memory() -> None:
    """The climb's own processes are about to need what training held on the GPU."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
