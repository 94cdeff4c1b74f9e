"""What people said trains the preference model, by the command that the page names."""

from __future__ import annotations

import json
import random

import pytest

from munro.evaluation.sides.export import HELPSTEER3, TRL, write_preferences
from munro.evaluation.sides.ratings import read_ratings
from munro.machine.verbs.preference import run_test, run_train
from tests.evaluation.sides.studies import clicked, rate, study
from tests.rewards.preference_models import WORDS, write_tiny

QUICK = [
    *(("num_steps", "150"), ("batch_rows", "16"), ("threads", "1")),
    *(("held_out", "0.2"), ("optimizer.learning_rate", "3e-3")),
]


@pytest.mark.slow
def test_a_liking_that_raters_have_is_learned(tmp_path, capsys):
    """Simulated raters who like cairns: so does the model, on tasks that it was not shown."""
    chosen = random.Random(0)
    dull = [" ".join(chosen.choices(WORDS[1:], k=4)) for _ in range(120)]
    good = [" ".join(["cairn", *chosen.choices(WORDS[1:], k=3)]) for _ in range(120)]
    is_a = [chosen.random() < 0.5 for _ in dull]
    a = [one if first else other for one, other, first in zip(good, dull, is_a, strict=True)]
    b = [other if first else one for one, other, first in zip(good, dull, is_a, strict=True)]
    folder = study(tmp_path, a=a, b=b, criteria=())

    def choose(rater, task, kind, b_left):
        return clicked(-1.0 if is_a[int(task[1:])] else 1.0, b_left)

    rate(folder, choose)
    write_preferences(read_ratings(folder), folder)
    base = write_tiny(tmp_path / "base", max_context=128)
    assert run_train(str(folder / HELPSTEER3), str(base), str(tmp_path / "rm"), QUICK) == 0
    told = capsys.readouterr().out
    figures = json.loads((tmp_path / "rm" / "preference.json").read_text())
    assert figures["held_out"]["rotated"]["pairwise_accuracy"] > 0.8, told
    status = run_test(
        str(tmp_path / "rm"), str(folder / TRL), base_url="", limit=0, seed=0,
        question="", skip_wrong=False,
    )  # fmt: skip
    told += capsys.readouterr().out
    assert status == 0, told
