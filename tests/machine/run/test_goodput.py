"""Where a climb's time went adds up, whatever was killed."""

from __future__ import annotations

import random

from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from munro.base_model.training.goodput import Ledger
from munro.machine.cli.main import munro
from munro.machine.run.goodput import OF_STEPS, ClimbGoodput, Span, Spans, read_climb


class Clock:
    def __init__(self):
        self.now = 1_000

    def __call__(self):
        return self.now


def test_steps_that_were_lost_are_recomputation_and_recoveries_are_told_by_role(tmp_path):
    file, clock = tmp_path / "goodput.jsonl", Clock()

    def process(began_after):
        ledger = Ledger(file, clock=clock)
        clock.now += began_after
        ledger.begin()
        return Spans(ledger)

    def passes(by, then, *args, **kwargs):
        clock.now += by
        then(*args, **kwargs)

    one = process(0)
    passes(50, one.goes_on, Span.START, 0)
    for step in (1, 2, 3):
        one.step = step
        passes(10, one.mark, Span.WAIT)
        passes(20, one.mark, Span.STEP)
        if step == 1:
            passes(5, one.mark, Span.SAVE)
    passes(7, one.goes_on, Span.RECOVER, 1, role="learner")
    one.step = 2
    passes(11, one.mark, Span.WAIT)
    two = process(100)  # the first was killed
    passes(40, two.goes_on, Span.START, 1)
    two.step = 2
    passes(9, two.mark, Span.STEP)
    assert read_climb(file) == ClimbGoodput(
        stepping=20 + 9,
        waiting=10,
        saving=5,
        recovering=7,
        recomputing=60 + 11,
        start=90,
        down=100,
        recoveries={"learner": (1, 7)},
    )
    assert read_climb(file).ettr == 39 / 312
    assert "learner lost 1 times" in read_climb(file).table()


@given(st.integers(0, 10_000))
def test_the_parts_sum_to_the_wall_clock_over_any_kills_and_goings_back(tmp_path_factory, seed):
    rng, clock = random.Random(seed), Clock()
    file = tmp_path_factory.mktemp("ledger") / "goodput.jsonl"
    began = clock.now
    for _ in range(rng.randint(1, 4)):
        clock.now += rng.randint(0, 50) if file.exists() else 0
        ledger = Ledger(file, clock=clock)
        ledger.begin()
        spans = Spans(ledger)
        for _ in range(rng.randint(0, 30)):
            clock.now += rng.randint(0, 9)
            if rng.random() < 0.2:
                span = rng.choice((Span.RECOVER, Span.START))
                spans.goes_on(span, rng.randint(0, 5), role="learner")
            else:
                spans.step = rng.randint(0, 5)
                spans.mark(rng.choice((*OF_STEPS, Span.SAVE)))
        end = clock.now
        if rng.random() < 0.3 and file.exists():
            with file.open("a") as torn:
                torn.write('{"at": 1')
    # what the last process did after its last mark is in nobody's book
    found = read_climb(file)
    assert found.wall == end - began
    assert 0 <= found.ettr <= 1


def test_the_command_tells_of_a_climb_too(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    ledger = Ledger(tmp_path / "goodput.jsonl")
    ledger.begin()
    Spans(ledger).goes_on(Span.START, 0)
    told = CliRunner().invoke(munro, ["goodput", str(tmp_path)]).output
    assert "waiting for groups" in told
    assert told.splitlines()[-1].split()[:-1] == ["in", "steps", "that", "count"]
