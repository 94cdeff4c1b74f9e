"""The ledger's parts add up to the wall-clock, whatever happened to the processes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from munro.base_model.training.goodput import NS, Ledger, Span, read_goodput


class Clock:
    """Says the next of some moments, given in seconds."""

    def __init__(self, *moments: float) -> None:
        self._moments: Iterator[float] = iter(moments)

    def __call__(self) -> int:
        return int(next(self._moments) * NS)


def seconds(file: Path, **ideal: float) -> dict[str, float]:
    parts = asdict(read_goodput(file, ideal_step_s=ideal))
    return {name: part / NS for name, part in parts.items() if part}


def killed_and_resumed(file: Path) -> None:
    """Four steps of 2 s, a checkpoint after the second, death; 7 s nothing; steps 3 to 5."""
    first = Ledger(file, clock=Clock(100, 110, 112, 114, 115, 117, 119))
    first.begin()
    first.mark(Span.START)
    first.mark(Span.STEP, step=1)
    first.mark(Span.STEP, step=2)
    first.mark(Span.CHECKPOINT)
    first.mark(Span.STEP, step=3)
    first.mark(Span.STEP, step=4)
    second = Ledger(file, clock=Clock(126, 130, 132, 137, 139, 141))
    second.begin()
    second.mark(Span.START)
    second.mark(Span.STEP, step=3)
    second.mark(Span.STEP, step=4)
    second.mark(Span.STEP, step=5)
    second.mark(Span.EVALUATION)


def test_every_second_of_a_killed_and_resumed_run_is_in_one_part(tmp_path):
    killed_and_resumed(tmp_path / "ledger")
    assert seconds(tmp_path / "ledger") == {
        "ideal": 10,
        "slow": 3,
        "recomputation": 4,
        "start": 14,
        "checkpoint": 1,
        "evaluation": 2,
        "down": 7,
    }


def test_the_ideal_step_may_be_given_instead_of_the_median(tmp_path):
    killed_and_resumed(tmp_path / "ledger")
    found = read_goodput(tmp_path / "ledger", ideal_step_s={"": 1.5})
    assert (found.ideal / NS, found.slow / NS) == (7.5, 5.5)
    assert found.goodput == pytest.approx(7.5 / 41)


def test_phases_have_ideal_steps_of_their_own(tmp_path):
    ledger = Ledger(tmp_path / "ledger", clock=Clock(1, 2, 3, 13, 23))
    ledger.begin()
    for step in (1, 2):
        ledger.mark(Span.STEP, phase="short", step=step)
    for step in (1, 2):
        ledger.mark(Span.STEP, phase="long", step=step)
    assert seconds(tmp_path / "ledger") == {"ideal": 22}


def test_time_begins_with_the_process_where_that_is_known(tmp_path):
    ledger = Ledger(tmp_path / "ledger", clock=Clock(30))
    ledger.begin(25 * NS)
    ledger.mark(Span.START)
    assert seconds(tmp_path / "ledger") == {"start": 5}


def test_a_torn_last_line_is_time_in_which_nothing_ran(tmp_path):
    file = tmp_path / "ledger"
    killed_and_resumed(file)
    whole = seconds(file)
    file.write_bytes(file.read_bytes()[:-7])
    later = Ledger(file, clock=Clock(145))
    later.begin()
    del whole["evaluation"]
    assert seconds(file) == {**whole, "down": 7 + 6}


@given(
    marks=st.lists(
        st.tuples(st.sampled_from([*Span][1:]), st.integers(1, 4), st.integers(-2, 9)), max_size=40
    )
)
def test_the_parts_add_up_to_the_wall_clock_exactly(tmp_path_factory, marks):
    file = tmp_path_factory.mktemp("ledger") / "ledger"
    now = start = 1_763_000_000_123_456_789
    latest = start
    ledger = Ledger(file, clock=lambda: now)
    ledger.begin()
    for span, step, later in marks:
        now += later * 333_333_333
        latest = max(latest, now)
        ledger.mark(span, step=step)
    assert read_goodput(file).wall == latest - start
    assert min(asdict(read_goodput(file)).values()) >= 0


def test_the_table_names_every_part_and_the_share_of_ideal_steps(tmp_path):
    killed_and_resumed(tmp_path / "ledger")
    table = read_goodput(tmp_path / "ledger").table()
    assert "recomputation          4.0 s    9.8%" in table
    assert table.splitlines()[-1].split() == ["goodput", "24.4%"]


def test_a_run_without_a_ledger_keeps_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ledger = Ledger(None)
    ledger.begin()
    ledger.mark(Span.STEP, step=1)
    assert list(tmp_path.iterdir()) == []
