"""A restart carried out between two segments of a climb: real traces and training, no Ray."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from munro.machine.climb.restarting import Restarts
from munro.machine.climb.start import raw, resume
from munro.machine.loading import from_overrides
from munro.machine.run.console import Console, Summary
from munro.machine.run.folder import RunFolder
from munro.machine.run.restarts import Request, read_request, read_restarts, write_request
from munro.rl.collapse import Watch
from munro.rl.state import ClimbState, Cursor
from tests.distill.runs import make_base, make_run

QUICK = [
    ("num_steps", "9"),
    ("env", "arithmetic"),
    ("rollout.template", "plain"),
    ("distill.every", "4"),
    ("distill.on", '["collapse", "new_base"]'),
    ("distill.training.batch_rows", "1"),
    ("distill.training.epochs", "3"),
    ("distill.training.row_tokens", "64"),
    ("distill.training.threads", "1"),
    ("distill.training.log_every", "1"),
    ("distill.training.checkpoint_every", "1"),
]
CONFIG = from_overrides(QUICK)


class Said(Console):
    """A console that remembers what it was told."""

    def __init__(self):
        super().__init__(Summary(run="r", model="m", env="e", engine="x"), 9)
        self.notes = []

    def note(self, text):
        self.notes.append(text)


@pytest.fixture
def base(tmp_path):
    return make_base(tmp_path / "base").path


@pytest.fixture
def run(tmp_path, base):
    run = RunFolder(make_run(tmp_path / "run", steps=4))
    run.begin(raw(CONFIG), seed=0, provenance={"model": str(base)})
    return run


def restarts_of(run, base, *, interrupted=False):
    console = Said()
    interrupt = SimpleNamespace(requested=interrupted)
    return Restarts(run, CONFIG, console, interrupt, base), console


def after(step, **fields):
    state = ClimbState.first(CONFIG.clip)
    state = replace(state, clip=replace(state.clip, widening=0.5), policy_version=step)
    return replace(state, step=step, cursor=Cursor(next_index=30, pending=(28,)), **fields)


def test_it_learns_late_traces_and_the_climb_goes_on_with_a_closed_clip(run, base):
    restarts, console = restarts_of(run, base)
    state = after(4)
    start = restarts.make(restarts.due(state), state)
    assert start.model == run.path / "distilled" / "step-000004"
    assert (start.state, start.checkpoint) == (state.restarted(), None)
    assert start.state.clip.widening == 0
    (made,) = read_restarts(run)
    assert (made.first_step, made.last_step, made.base) == (3, 4, str(base))
    assert restarts.due(start.state) is None
    assert "learning " in console.notes[1]
    assert console.notes[2].startswith("★ distilled into ")
    journal = [json.loads(line) for line in (run.path / "journal.jsonl").read_text().splitlines()]
    assert journal == [{"event": "distilled", "step": 4, "base": str(base)}]
    assert resume(run, CONFIG) == start


def test_stopped_while_it_learns_it_goes_on_and_ends_with_the_same_bits(run, base, tmp_path):
    state = after(4)
    stopping, _ = restarts_of(run, base, interrupted=True)
    with pytest.raises(KeyboardInterrupt):
        stopping.make(stopping.due(state), state)
    assert read_restarts(run) == ()
    restarts, _ = restarts_of(run, base)
    stopped = restarts.make(restarts.due(state), state)

    other = RunFolder(make_run(tmp_path / "other", steps=4))
    other.begin(raw(CONFIG), seed=0, provenance={"model": str(base)})
    straight, _ = restarts_of(other, base)
    whole = straight.make(straight.due(state), state)
    weights = [(start.model / "model.safetensors").read_bytes() for start in (stopped, whole)]
    assert weights[0] == weights[1]


def test_a_restart_killed_before_run_json_says_so_is_not_trained_again(run, base):
    state = after(4)
    first, _ = restarts_of(run, base)
    made = first.make(first.due(state), state)
    was = (made.model / "model.safetensors").stat().st_mtime_ns
    run.write_info(replace(run.read_info(), restarts=()))
    again, _ = restarts_of(run, base)
    assert again.make(again.due(state), state) == made
    assert (made.model / "model.safetensors").stat().st_mtime_ns == was


def test_a_collapse_is_distilled_from_what_came_before_it(run, base):
    restarts, _ = restarts_of(run, base)
    state = after(4, watch=Watch(counts={"grad_norm": 2}, failure="nothing passed"))
    restarts.make(restarts.due(state), state)
    (made,) = read_restarts(run)
    assert made.is_collapse
    assert (made.first_step, made.last_step) == (2, 2)


def test_a_request_is_answered_once_and_taken_away(run, base, tmp_path):
    newer = make_base(tmp_path / "newer").path
    write_request(run, Request(base=str(newer), id="one"))
    restarts, _ = restarts_of(run, base)
    state = after(3)
    restarts.make(restarts.due(state), state)
    assert [(made.base, made.request) for made in read_restarts(run)] == [(str(newer), "one")]
    assert read_request(run) is None


def test_a_request_for_a_foreign_base_is_told_of_and_the_climb_goes_on(run, base, tmp_path):
    foreign = make_base(tmp_path / "foreign").path
    write_request(run, Request(base=str(foreign), id="one"))
    (foreign / "tokenizer.json").unlink()
    (foreign / "tokenizer_config.json").unlink()
    restarts, console = restarts_of(run, base)
    assert restarts.due(after(3)) is None
    assert "is refused: " in console.notes[0]
    assert read_request(run) is None


def test_another_template_holds_from_the_first_restart_on(run, base):
    chat = CONFIG.model_copy(
        update={"distill": CONFIG.distill.model_copy(update={"template": "chat"})}
    )
    console, interrupt = Said(), SimpleNamespace(requested=False)
    restarts = Restarts(run, chat, console, interrupt, base)
    assert restarts.climbs_with().rollout.template == "plain"
    state = after(4)
    restarts.make(restarts.due(state), state)
    assert restarts.climbs_with().rollout.template == "chat"
