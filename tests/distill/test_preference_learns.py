"""A tiny model learns a taste from comparisons, and rotation takes the place out of its scores."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.preference import RULES, comparisons, train
from munro.rewards.preference import PreferenceModel
from tests.rounding import near

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def shorter(tmp_path_factory) -> Path:
    """A model of the rule "shorter", trained from nothing."""
    folder = tmp_path_factory.mktemp("shorter")
    train("shorter", folder, steps=400)
    return folder / "shorter"


def test_held_out_accuracy_and_bias_are_as_wanted(shorter: Path):
    told = json.loads((shorter / "preference.json").read_text())["held_out"]
    assert told["rotated"]["pairwise_accuracy"] >= 0.9
    assert told["rotated"]["position_bias"] < 0.02
    assert told["pairs"] >= 500


def test_a_taste_for_the_first_place_in_the_data_is_in_one_order_and_not_in_the_rotated(tmp_path):
    figures = train("first-listed", tmp_path, steps=300).figures
    assert figures.unrotated.position_bias > 0.1
    assert figures.rotated.position_bias < 0.02


@pytest.mark.vllm
def test_vllm_scores_as_transformers_does(shorter: Path, tmp_path):
    sets = [(one.context, one.candidates) for one in comparisons("shorter", 40, seed=9)]
    here = PreferenceModel.load(shorter, device="cpu").score_many(sets)
    with PreferenceModel.serve(shorter, logs=str(tmp_path)) as served:
        there = served.score_many(sets)
    for one, other in zip(here, there, strict=True):
        # logits of so small a model are below 8, and a probability moves by half of what they do
        assert other == near(one, 2000, scale=4.0)


def test_rules_are_told_apart_by_their_comparisons():
    made = {rule: comparisons(rule, 300, seed=0) for rule in RULES}
    for one in made["shorter"]:
        lengths = [len(text.split()) for text in one.candidates]
        assert one.scores[lengths.index(min(lengths))] == 5
    first = sum(one.scores[0] == 5 for one in made["first-listed"]) / 300
    assert first == pytest.approx(0.8 + 0.2 / 3, abs=0.07)
