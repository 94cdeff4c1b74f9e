"""Fifty steps come to what was recorded, as near as rounding lets them on another processor.

Types of CPU and builds of torch sum a matrix product in different orders, so the last bits of
every step differ between them, and fifty steps carry the difference on. How far they carry it is
measured beside: a second run begins with every weight one unit in the last place off. The recorded
figures may lie a few times as far away as that run's. A change that is meant to alter numbers
records them anew and says so: `python -m tests.base_model.golden`.
"""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.base_model.golden import STEPS, drawn, file_of, run
from tests.base_model.trainable import KINDS
from tests.rounding import bound, depth

TIMES = 30
"""A nudge is one draw of what rounding may do, in one place of a step out of hundreds."""


@pytest.mark.parametrize("kind", ["dense", pytest.param("moe", marks=pytest.mark.slow)])
def test_fifty_steps_come_to_what_was_recorded(kind):
    recorded, found, other = (
        json.loads(file_of(kind).read_text()),
        run(kind),
        run(kind, nudged=True),
    )
    ours, theirs, nudged = (np.array(one["steps"]) for one in (found, recorded, other))
    assert ours.shape == theirs.shape == (STEPS, 2)
    # before anything is carried on, the first step rounds by itself
    at_first = bound(depth(drawn(kind), 4 * 32, backward=True))
    carried = np.maximum.accumulate(np.abs(nudged / ours - 1))
    assert (np.abs(theirs / ours - 1) < at_first + TIMES * carried).all()
    assert carried.max() < 0.01, "so far apart that the comparison would prove nothing"
    norm, kept, moved = (one["weights"]["norm"] for one in (found, recorded, other))
    assert abs(kept / norm - 1) < at_first + TIMES * abs(moved / norm - 1)


@pytest.mark.parametrize("kind", KINDS)
def test_the_recorded_run_learned(kind):
    steps = json.loads(file_of(kind).read_text())["steps"]
    assert steps[-1][0] < 0.8 * steps[0][0]
