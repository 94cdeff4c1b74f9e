"""Lengths in ALP's form and by what is usual, brevity, repetition, truncation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from munro.rewards.combine.compose import compose
from munro.rewards.config import RewardsConfig
from munro.rewards.kinds import make
from munro.rewards.length import alp, penalty
from munro.rewards.length.usual import LengthRanges, estimate
from munro.rewards.repetition import RUN, share, shares
from munro.rewards.types import Grade


def test_alp_has_a_floor_of_one_over_the_group_and_is_eq_12_above_it():
    assert alp(500, pass_rate=0.0, group_size=16, scale=1000) == pytest.approx(0.5 / 16)
    assert alp(500, pass_rate=0.5, group_size=16, scale=1000) == penalty(500, 0.5, 1000)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [((1, 0.5, 0, 9), "group_size"), ((1, 0.5, 4, 0), "scale"), ((-1, 0.5, 4, 9), "num_tokens"),
     ((1, 1.5, 4, 9), "pass_rate"), ((1, float("nan"), 4, 9), "pass_rate")],
)  # fmt: skip
def test_alp_names_an_argument_out_of_its_range(arguments, name):
    with pytest.raises(ValueError, match=f"^{name} is"):
        alp(*arguments)


def test_repetition_is_nothing_for_prose_and_nearly_all_of_a_loop():
    prose = "Every column is a fact about digits, written so that sums are worked in one place."
    assert share(prose) == 0.0
    assert share("") == 0.0
    assert share("one two three. " * 100) > 0.95
    assert share("ab" * 5000) > 0.95
    assert share(f"{prose} {prose}") == pytest.approx(0.5, abs=0.05)


@given(st.text(), st.integers(1, 20))
def test_repetition_is_a_share_of_any_text(text, run):
    assert 0 <= share(text, run) <= 1


@given(st.lists(st.text(alphabet="ab .", max_size=60), max_size=6), st.integers(1, 6))
def test_repetition_of_many_texts_is_that_of_each(texts, run):
    assert shares(texts, run).tolist() == [share(text, run) for text in texts]


def test_repetition_needs_a_positive_run():
    assert RUN > 1
    with pytest.raises(ValueError, match="run is 0"):
        share("a", 0)


def test_repetition_and_truncation_are_kept_apart_and_cost_nothing_unless_weighed():
    found = {"language": 1.0, "length": 0.1, "repetition": 0.5, "truncation": 1.0}
    free = compose(Grade.of(True), **found, config=RewardsConfig())
    assert free.total == 1 + 0.5 * 1 - 0.25 * 0.1
    config = RewardsConfig(repetition_weight=0.2, truncation_weight=0.3)
    paid = compose(Grade.of(True), **found, config=config)
    assert paid.total == pytest.approx(free.total - 0.2 * 0.5 - 0.3)
    assert (paid.repetition, paid.truncation) == (0.5, 1.0)


def test_a_range_is_between_the_quantiles_and_falls_back_to_all_contexts():
    lengths = [("joke", n) for n in range(1, 101)] + [("essay", 900)]
    ranges = estimate(lengths)
    assert ranges.of("joke") == (5, 96)
    assert ranges.of("essay") == ranges.of("nothing known") == ranges.overall
    with pytest.raises(ValueError, match="no answers"):
        estimate([])
    with pytest.raises(ValueError, match="low < high"):
        estimate(lengths, low=0.9, high=0.1)


def test_only_lengths_outside_their_context_s_range_are_fined(tmp_path):
    file = tmp_path / "lengths.json"
    estimate([("joke", n) for n in (3, 4, 5, 6)], low=0, high=1).save(file)
    with make("length_range", path=str(file)) as grader:
        fines = [
            grader.grade({"response": "word " * n, "task_id": "joke"}).reward for n in range(8)
        ]
    assert fines == [-1, -1, -1, 0, 0, 0, 0, -1]
    assert LengthRanges.load(file).of("joke") == (3, 6)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"contexts": 3}', '{"unit": "words"}'])
def test_a_file_of_lengths_that_is_none_is_refused_in_a_sentence(tmp_path, text):
    file = tmp_path / "lengths.json"
    file.write_text(text)
    with pytest.raises(ValueError, match="is not what `munro lengths` writes"):
        make("length_range", path=str(file))
    with pytest.raises(ValueError, match=r"there is no file .* make it with"):
        make("length_range", path=str(tmp_path / "none.json"))


def test_brevity_falls_from_one_to_nought_and_has_no_verdict():
    with make("brevity", most=4, unit="characters") as grader:
        grades = [grader.grade({"response": "x" * n}) for n in (0, 1, 4, 9)]
    assert [grade.reward for grade in grades] == [1, 0.75, 0, 0]
    assert {grade.passed for grade in grades} == {None}
    with pytest.raises(ValueError, match="give one of characters, words, tokens"):
        make("brevity", unit="lines")
    with make("brevity", unit="tokens") as grader, pytest.raises(ValueError, match="num_tokens"):
        grader.grade({"response": "a"})
