"""The table of pass rates: what a resume keeps of it and what it makes void."""

from __future__ import annotations

from munro.rl.config import ClimbConfig
from munro.rl.control.controller import PASS_RATES, Ledger
from munro.rl.control.journal import Journal
from munro.rl.control.pass_rates import PassRates
from munro.rl.state import ClimbState, Cursor
from tests.builders import make_group, make_task, tell


def test_what_was_measured_after_the_checkpoint_is_void(tmp_path):
    path = tmp_path / "rates.jsonl"
    rates = PassRates(path, {}, step=0)
    rates.note("a", 0.25, step=0)
    rates.note("a", 0.5, step=1)
    rates.note("b", 1.0, step=2)
    rates.flush()
    with path.open("a") as file:
        file.write('{"task": "c", "ra')  # a crash
    again = PassRates(path, {}, step=2)
    assert (again.of("a"), again.of("b"), again.of("c")) == (0.5, None, None)
    # from the beginning nothing is left
    assert PassRates(path, {}, step=0).of("a") is None


def test_a_checkpoint_of_before_brings_its_own(tmp_path):
    """Caps by difficulty go on where the rates stood in the checkpoint, and later in the log."""
    settings = ClimbConfig.model_validate(
        {"num_steps": 9, "length": {"stages": [100], "budget": "difficulty"}}
    )
    state = ClimbState.from_json(
        """{"clip": {"eps": 0.6, "outer": 50.0}, "step": 4, "truncation": [],
            "cursor": {"next_index": 9, "pending": [3, 4, 7], "pass_rates": {"3": 1.0}}}"""
    )
    assert state.cursor == Cursor(next_index=9, pending=(3, 4, 7), pass_rates={"3": 1.0})
    journal = Journal(tmp_path / "journal.jsonl")
    ledger = Ledger(settings, state.cursor, journal, str, step=4)
    easy, unknown, _ = ledger.hand_out(3, state)
    assert easy[1] < unknown[1] == 100
    ledger.take_in([tell(make_group(1.0, 1.0, index=4, task=make_task("4")))])
    cursor = ledger.settle([tell(make_group(index=3))], 5)
    assert cursor.pass_rates == {}
    journal.close()
    rates = PassRates(tmp_path / PASS_RATES, cursor.pass_rates, step=5)
    assert (rates.of("3"), rates.of("4")) == (1.0, 1.0)
