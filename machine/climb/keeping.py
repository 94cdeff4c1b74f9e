"""What a climb leaves behind as it goes: metrics, rollouts, evaluations, checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from munro.base_model.training.goodput import Ledger
from munro.machine.climb.evaluate import HeldOut, held_out, held_out_metrics, is_told_by_name
from munro.machine.climb.interrupt import Interrupt
from munro.machine.climb.origin import as_recorded
from munro.machine.climb.publisher import Publisher
from munro.machine.climb.restarting import Restarts
from munro.machine.climb.start import recorded
from munro.machine.config import RunConfig
from munro.machine.run.beside import Beside, Stores, note_parts
from munro.machine.run.best import is_better
from munro.machine.run.checkpoints import Checkpoints, Saves
from munro.machine.run.console import Console
from munro.machine.run.folder import RunFolder
from munro.machine.run.goodput import Span, Spans
from munro.machine.run.tracking import Trackers
from munro.machine.run.watches import Watches
from munro.rl.state import ClimbState
from munro.rollout.types import Outcome, places_of


class Keeper:
    """Implements `munro.rl.ports.Run` over a run folder."""

    def __init__(
        self,
        run: RunFolder,
        config: RunConfig,
        console: Console,
        interrupt: Interrupt,
        learner: Saves,
        held_out: HeldOut,
        grading: Callable[[], Mapping[str, float]],
        stores: Stores,
        publisher: Publisher,
        restarts: Restarts,
        model: str,
        state: ClimbState,
        trackers: Trackers,
        dropped: Callable[[], Sequence[Outcome]] = tuple,
        spans: Spans | None = None,
    ) -> None:
        self._run, self._config, self._console = run, config, console
        self._restarts, self._state, self._due = restarts, state, restarts.due(state)
        self._interrupt, self._learner, self._held_out = interrupt, learner, held_out
        self._grading, self._publisher, self._model = grading, publisher, model
        self._stores, self._beside = stores, Beside(run, config, stores)
        self._dropped, self._trackers = dropped, trackers
        self._spans = spans or Spans(Ledger(None))
        self._watches = Watches(config.env, run.metrics.read())
        self._checkpoints = Checkpoints(run, config, learner, self._provenance, console.phase)
        self._stage: int | None = None

    def should_stop(self) -> bool:
        """See `munro.rl.ports.Run`: also where the climb is to restart from a distillation."""
        return self._interrupt.requested or self._due is not None

    def draft(self, state: ClimbState, groups: Sequence[Outcome]) -> None:
        """Begin to write a step's groups, each where it lies."""
        worth = [group.worth.advantages for group in groups if group.worth]
        folder = str(self._run.rollouts.absolute())
        self._stores.draft(folder, state.step + 1, places_of(groups), worth)

    def record(self, state: ClimbState, groups: Sequence[Outcome]) -> None:
        """Store a step's groups and take the next proof's tokens from them."""
        if (state.step + 1) % self._config.sync.every_steps == 0:  # an update follows
            self._publisher.remember(places_of(groups), self._stores.first_tokens)
        hosts = self._stores.commit(str(self._run.rollouts.absolute()), state.step + 1)
        note_parts(self._run.rollouts, state.step + 1, hosts)
        self._beside.dropped(state.step + 1, self._dropped())
        self._spans.mark(Span.STORE)

    def nothing_passed(self) -> None:
        """Show some replies of what the gates dropped, and store them: there will be no step."""
        self._beside.nothing_passed(self._state.step + 1, self._dropped(), self._console.note)

    def evaluate(self, state: ClimbState) -> Mapping[str, float]:
        """Held-out figures where they are due: at the ends, on schedule, around a distillation."""
        self._state, self._due = state, self._restarts.due(state)
        every, last = self._config.eval.every_steps, state.step >= self._config.num_steps
        around = self._due is not None or state.step == state.began_step
        if not every or (state.step % every and not last and not around):
            return {}
        self._console.phase("evaluating")
        groups = held_out(self._held_out, self._config, state.stage)
        self._beside.evaluated(state.step, groups)
        self._spans.mark(Span.EVALUATE)
        return held_out_metrics(groups, by_name=is_told_by_name(self._config))

    def log(self, state: ClimbState, metrics: Mapping[str, float]) -> None:
        """One line of metrics, to file, trackers and console; what was graded goes with it.

        Where they are the best held-out figures so far, this step gets a checkpoint.
        """
        trends, alarms = self._watches.after(state.step, metrics)
        metrics = {**metrics, **self._grading(), **trends}
        self._run.metrics.append(state.step, {**metrics, **self._events(state, alarms)})
        self._trackers.log(state.step, metrics)
        self._console.step(state.step, metrics)
        figure = self._config.checkpoint.best
        if figure and is_better(self._run, figure, state.step, metrics):
            self._checkpoints.take(state)
            self._spans.mark(Span.SAVE)

    def _events(self, state: ClimbState, alarms: Sequence[str]) -> dict[str, list[str]]:
        told = list(alarms)
        for alarm in alarms:
            self._console.note(f"step {state.step}: {alarm}")
        before, self._stage = self._stage, state.stage
        if before not in (None, state.stage):
            told.append(f"length cap {self._config.length.stages[state.stage]}")
        collapse = state.watch.found(state.step, self._config.collapse)
        if collapse and collapse.began == state.step - self._config.collapse.patience + 1:
            told.append(f"collapse: {collapse.cause}")
            self._console.note(f"step {state.step}: {told[-1]}")
        if self._due is not None:
            told.append(f"distilled onto {self._due.base}: {self._due.cause}")
        return {"event": told} if told else {}

    def failed(self, why: str) -> ClimbState | None:
        """Keep the last state as that of a climb that cannot take another step.

        Returns:
            The state, where that is a reason to distil; else None, and nothing is kept.
        """
        state = replace(self._state, watch=self._state.watch.failed(why))
        if self._restarts.due(state) is None:
            return None
        self._checkpoints.finish(state, again=True)
        return state

    def save_if_due(self, state: ClimbState) -> None:
        """Begin the checkpoint that is due after this step, or was while another was written."""
        self._checkpoints.after(state)
        self._spans.mark(Span.SAVE)

    def save(self, state: ClimbState) -> None:
        """Write the checkpoint of this step, unless it was written or there is nothing yet."""
        self._checkpoints.finish(state)
        self._spans.mark(Span.SAVE)

    def _provenance(self, state: ClimbState) -> dict[str, Any]:
        return {
            "run": self._run.name,
            "step": state.step,
            "began_from": self._model,
            "models": dict(recorded(self._run)),
            "climb_state": state.to_json(),
            "config": as_recorded(self._config),
            "template": self._restarts.climbs_with().rollout.template,
        }
