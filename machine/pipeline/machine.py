"""The whole machine from one file: phases made in order, side by side where there is room.

    questions, base ──► specialists, side by side ──► consolidation ──► final climb ──► evaluation

Every phase is a process of its own that ends with this one. What is done is not done again: the
same command goes on, whichever process was killed.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from munro.base_model.hub import locate
from munro.machine.climb.interrupt import Interrupt
from munro.machine.loading import BadConfig
from munro.machine.pipeline.config import MachineConfig
from munro.machine.pipeline.models import look_up, recorded
from munro.machine.pipeline.plan import (
    ORDERS,
    Phase,
    Standing,
    checkpoint_of,
    load_machine,
)
from munro.machine.pipeline.process import PhaseProcess
from munro.machine.pipeline.questions import FOLDER
from munro.machine.pipeline.ready import lacking
from munro.machine.pipeline.resources import Room, room_for
from munro.machine.run.console import duration
from munro.machine.run.files import explained, write_atomically
from munro.machine.run.lock import held_folder

JOURNAL = "machine.jsonl"
POLL_S = 0.2


def plan(path: str) -> str:
    """What `munro machine` would do, as lines for a person: nothing is started.

    Raises:
        BadConfig: a key is wrong, or phases need what there is not.
    """
    config, phases = load_machine(path)
    width = max(len(phase.name) for phase in phases)
    lines = [f"machine   {config.path}, {room_for(config).told}"]
    for phase in phases:
        takes = [name for names in phase.takes.values() for name in names]
        from_what = f" from {', '.join(takes)}" if takes else ""
        lines.append(
            f"{phase.name:<{width}}  {phase.kind}{from_what} -> {phase.folder / _makes(phase)}: "
            f"{_would(phase)}"
        )
    lines += [f"{phase.name} lacks {line}" for phase in phases for line in lacking(phase)]
    return "\n".join(lines)


def _makes(phase: Phase) -> str:
    return {
        "climb": "checkpoints",
        "evaluate": "results.json",
        "questions": f"{FOLDER}/questions.jsonl",
    }.get(phase.kind, "model")


def _would(phase: Phase) -> str:
    match phase.standing:
        case Standing.DONE:
            return "done, not done again"
        case Standing.BEGUN:
            return "goes on"
        case Standing.NEW:
            return "would run"
        case Standing.CHANGED:
            return f"needs --force, for it was made from other inputs ({_first_changes(phase)})"


def _first_changes(phase: Phase) -> str:
    changes = phase.changes()
    more = f" and {len(changes) - 3} more" if len(changes) > 3 else ""
    return "; ".join(changes[:3]) + more


def run_machine(path: str, *, force: bool = False) -> int:
    """Make all phases that are not done; the process's exit status.

    Raises:
        BadConfig: a key is wrong, or a phase's inputs changed and `force` is not given.
        RunError: another process is at this machine.
        CheckpointError: a model from elsewhere is missing or incomplete.
    """
    config, phases = load_machine(path)
    with held_folder(config.path, "give this machine another name"):
        takes = [phase.takes for phase in phases if phase.standing is not Standing.DONE]
        names = [name for roles in takes for of in roles.values() for name in of]
        look_up(config.path, set(names) - set(config.phases))
        config, phases = load_machine(path)  # which knows the commits of those models now
        _settle_changes(phases, force=force)
        with Interrupt(click.echo) as interrupt:
            return _Machine(config, {phase.name: phase for phase in phases}).run(interrupt)


def _settle_changes(phases: Sequence[Phase], *, force: bool) -> None:
    """Move aside what was made from other inputs, if a person insists; else refuse."""
    changed = [phase for phase in phases if phase.standing is Standing.CHANGED]
    if changed and not force:
        first = changed[0]
        raise BadConfig(
            f"phase {first.name} was made from other inputs ({_first_changes(first)}). Give the "
            "machine another name, or make it and what builds on it anew by --force."
        )
    for phase in changed:
        number = 1
        while (aside := phase.folder.with_name(f"{phase.name}.old-{number}")).exists():
            number += 1
        with explained(phase.folder):
            phase.folder.rename(aside)
        click.echo(f"{phase.name}: made anew; the old one is kept as {aside}")


@dataclass(slots=True)
class _Machine:
    """One run of `munro machine`."""

    config: MachineConfig
    phases: Mapping[str, Phase]
    running: dict[str, PhaseProcess] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)

    def run(self, interrupt: Interrupt) -> int:
        room, told = room_for(self.config), False
        for phase in self.phases.values():
            if phase.standing is Standing.DONE:
                click.echo(f"{phase.name}: done already")
        try:
            while self.running or (self._ready() and not interrupt.requested and not self.failed):
                if not interrupt.requested and not self.failed:
                    self._start_ready(room)
                if interrupt.requested and not told:
                    told = True
                    self._signal()
                time.sleep(POLL_S)
                self._collect(room)
        except KeyboardInterrupt:
            self._signal()
            raise
        finally:
            for process in self.running.values():
                process.end()
        return self._finish(stopped=interrupt.requested)

    def _ready(self) -> list[Phase]:
        """Phases that nothing but room keeps from running."""
        return [
            phase
            for phase in self.phases.values()
            if phase.name not in self.running
            and phase.name not in self.failed
            and phase.standing is not Standing.DONE
            and all(self.phases[name].standing is Standing.DONE for name in phase.needs)
        ]

    def _start_ready(self, room: Room) -> None:
        for phase in self._ready():
            share = room.take(phase)
            if share is None:
                continue
            with explained(phase.folder):
                phase.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(
                phase.folder / ORDERS, json.dumps(self._orders(phase), indent=2) + "\n"
            )
            self._journal("started", phase)
            click.echo(f"{phase.name}: {phase.kind} started, log in {phase.folder / 'output.log'}")
            self.running[phase.name] = PhaseProcess(phase.name, phase.folder, share.environment)

    def _orders(self, phase: Phase) -> dict[str, Any]:
        orders = phase.plain | {
            "paths": {
                role: {name: str(self._path(role, name)) for name in names}
                for role, names in phase.takes.items()
            }
        }
        if phase.kind == "climb" and self._is_on_a_cluster(phase):
            recipe = dict(orders["orders"]["recipe"])
            recipe["ray"] = recipe["ray"] | {"reserve": True}
            orders["orders"] = orders["orders"] | {"recipe": recipe}
        return orders

    @staticmethod
    def _is_on_a_cluster(phase: Phase) -> bool:
        return bool(phase.orders["recipe"]["ray"]["address"])

    def _path(self, role: str, name: str) -> Path:
        """Where what a phase takes lies."""
        if name not in self.phases:
            before = recorded(self.config.path).get(name, "")
            return locate(name, recorded=before).folder.resolve()
        phase = self.phases[name]
        return (phase.folder if role in ("runs", "questions") else checkpoint_of(phase)).resolve()

    def _collect(self, room: Room) -> None:
        for name, process in list(self.running.items()):
            status = process.poll()
            if status is None:
                continue
            del self.running[name]
            room.give_back(name)
            phase = self.phases[name]
            if status == 0 and phase.standing is Standing.DONE:
                self._journal("finished", phase)
                click.echo(f"{name}: done in {duration((phase.manifest or {})['seconds'])}")
            else:
                stopped = status == 130
                self.failed[name] = "stopped" if stopped else process.last_word
                self._journal("stopped" if stopped else "failed", phase, status=status)

    def _signal(self) -> None:
        for process in self.running.values():
            process.signal(signal.SIGINT)

    def _journal(self, event: str, phase: Phase, **more: Any) -> None:
        line = {
            "event": event,
            "phase": phase.name,
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            **more,
        }
        path = self.config.path / JOURNAL
        with explained(path), path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def _finish(self, *, stopped: bool) -> int:
        from munro.machine.pipeline.report import write_machine_report

        page = write_machine_report(self.config.path, list(self.phases.values()))
        spent = duration(time.monotonic() - self.began)
        broken = {name: why for name, why in self.failed.items() if why != "stopped"}
        for name, why in broken.items():
            click.echo(f"{name}: failed: {why}", err=True)
        if broken:
            click.echo("munro: the same command goes on once that is mended", err=True)
            return 2
        if stopped or self.failed:
            click.echo(f"stopped after {spent}: the same command goes on")
            return 130
        click.echo(f"finished in {spent}: see {page}")
        return 0
