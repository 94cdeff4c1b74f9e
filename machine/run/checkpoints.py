"""A climb's checkpoints: when one is due, what stands, what is kept.

    due ──► the learner writes, several ranks behind the training ──► it stands ──► best, pruning
     └─ while one is being written, a step later

What does not stand yet is no checkpoint: nothing is pruned for it, and a climb that dies meanwhile
goes on from the one before.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from munro.base_model.checkpoint import PROVENANCE, Checkpoint
from munro.base_model.sharded.stage import Stage
from munro.machine.run.best import best_checkpoint, link_best
from munro.machine.run.files import RunError
from munro.machine.run.folder import RunFolder
from munro.rl.config import ClimbConfig
from munro.rl.state import ClimbState

EPHEMERAL = "ephemeral"
"""Key of the provenance of a checkpoint that the next one replaces."""
SEEN_WITHIN_S = 30.0
"""A shared file system may take a while to show what another node wrote."""
POLL_S = 0.05


class Saves(Protocol):
    """A learner, as far as saving goes."""

    def save(
        self, folder: str, provenance: Mapping[str, object], *, wait: bool, export: bool
    ) -> None:
        """Write weights, tokenizer, optimizer and provenance, whole or not at all, or begin to."""
        ...

    def saving(self) -> Stage:
        """How far it is with what it began to write."""
        ...


class Checkpoints:
    """Those of one climb.

    Args:
        run: where they are.
        config: how often, and how many are kept.
        learner: writes them.
        provenance: of a state's checkpoint.
        phase: told what is going on.
    """

    def __init__(
        self,
        run: RunFolder,
        config: ClimbConfig,
        learner: Saves,
        provenance: Callable[[ClimbState], dict[str, Any]],
        phase: Callable[[str], None],
    ) -> None:
        self._run, self._config, self._learner = run, config, learner
        self._provenance, self._phase = provenance, phase
        self._saved: int | None = None
        self._writing: int | None = None
        self._is_busy = False
        self._due = ""

    def after(self, state: ClimbState) -> None:
        """Note what stands by now, and begin what is due after this step, once it can be."""
        stage = self._look()
        self._due = self._due_at(state.step) or self._due
        if state.step == self._saved:
            self._due = ""
        if self._due and not stage and self._may_stand(state.step):
            self._begin(state, is_ephemeral=self._due == EPHEMERAL)

    def take(self, state: ClimbState) -> None:
        """Begin that of this very state; what is being written is waited for."""
        self._wait()
        self._begin(state)

    def finish(self, state: ClimbState, *, again: bool = False) -> None:
        """Write that of this very state, and wait until it stands and its model is made.

        Args:
            state: the last one.
            again: though this step has one already.
        """
        self._wait()
        if again:
            self._saved = None
        self._begin(state)
        self._wait()

    def _begin(self, state: ClimbState, *, is_ephemeral: bool = False) -> None:
        """Unless it was written, or there is nothing yet."""
        self._due = ""
        if state.step in (0, self._saved):
            return
        self._phase("checkpoint")
        self._run.metrics.flush_to_disk()
        provenance = self._provenance(state) | ({EPHEMERAL: True} if is_ephemeral else {})
        folder = self._run.checkpoint(state.step).absolute()
        self._learner.save(str(folder), provenance, wait=False, export=not is_ephemeral)
        self._saved = self._writing = state.step
        self._is_busy = True
        self._look()

    def _look(self) -> Stage:
        """How far the learner is; what stands is noted, and what it replaces goes."""
        if not self._is_busy:
            return ""
        stage = self._learner.saving()
        self._is_busy = stage != ""
        if self._writing is not None and stage != "writing":
            self._stands(self._writing)
            self._writing = None
        return stage

    def _wait(self) -> None:
        end = time.monotonic() + self._config.deadlines.step_s
        while stage := self._look():
            if time.monotonic() > end:
                raise RunError(
                    f"the checkpoint of step {self._saved} has been {stage} for "
                    f"{self._config.deadlines.step_s:g} s (deadlines.step_s): look at the disk of "
                    f"{self._run.checkpoints}, or give it longer."
                )
            time.sleep(POLL_S)

    def _stands(self, step: int) -> None:
        _require_seen(self._run.checkpoint(step).absolute())
        self._run.note_saved(step)
        best = None
        if figure := self._config.checkpoint.best:
            best = best_checkpoint(self._run, figure)
            link_best(self._run, figure)
        passing = [step for step, folder in self._run.list_checkpoints() if is_ephemeral(folder)]
        self._run.prune_checkpoints(self._config.checkpoint.keep, spare=best, ephemeral=passing)

    def _due_at(self, step: int) -> str:
        """Which kind is due after a step; empty for none."""
        often = self._config.checkpoint
        if step % often.every_steps == 0:
            return "permanent"
        if often.ephemeral_steps and step % often.ephemeral_steps == 0:
            return "" if self._due else EPHEMERAL
        return ""

    def _may_stand(self, step: int) -> bool:
        """A wave of groups that serves several steps is not to be lost by halves."""
        sync = self._config.sync
        return sync.max_staleness > 0 or step % sync.every_steps == 0


def is_ephemeral(checkpoint: Path) -> bool:
    """Whether the next checkpoint replaces this one."""
    file = checkpoint / PROVENANCE
    return file.is_file() and EPHEMERAL in json.loads(file.read_text(encoding="utf-8"))


def export_model(path: Path, step: int) -> str:
    """Make the model's files of a run's checkpoint, from its pieces; what came of it, in a line.

    Raises:
        RunError: there is no run, or it has no checkpoint of that step.
        CheckpointError: the checkpoint is incomplete, or the disk refused.
    """
    run = RunFolder.existing(path)
    checkpoint = Checkpoint(run.checkpoint(step))
    if not checkpoint.path.is_dir():
        steps = ", ".join(str(step) for step, _ in run.list_checkpoints()) or "none"
        raise RunError(f"{path} has no checkpoint of step {step}; it has those of: {steps}.")
    if checkpoint.require(weights=False).exists:
        return f"{checkpoint.path} is a whole model already"
    from munro.base_model.sharded.export import export  # which imports torch

    export(checkpoint.path, is_renamed=checkpoint.commit()["is_renamed"])
    checkpoint.require()
    return f"wrote {checkpoint.path}: a model that transformers loads as it is"


def _require_seen(folder: Path) -> None:
    """The learner may live on another node: what it wrote must be here too, to be resumed from.

    Raises:
        RunError: it is not.
    """
    end = time.monotonic() + SEEN_WITHIN_S
    while not folder.is_dir():
        if time.monotonic() > end:
            raise RunError(
                f"the learner wrote {folder}, but {socket.gethostname()} does not see it there: "
                "put the run's folder on a file system that the driver and the learner share "
                "(folder = ... in the recipe)."
            )
        time.sleep(0.1)
