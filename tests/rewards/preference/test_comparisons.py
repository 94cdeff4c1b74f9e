"""Comparisons are read whole, and a mistake in them is one sentence that names the line."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from munro.rewards.preference.comparisons import (
    BadComparisons,
    Comparison,
    parse_comparisons,
    read_comparisons,
)

GOOD = {"context": "c", "candidates": ["a", "b"], "scores": [5, 1]}


def line(**changes: object) -> str:
    return json.dumps({key: value for key, value in {**GOOD, **changes}.items() if value != ...})


def test_scored_candidates_and_plain_pairs_are_read_and_blank_lines_passed_over(tmp_path):
    file = tmp_path / "pairs.jsonl"
    pair = {"context": "d", "chosen": "yes", "rejected": "no"}
    file.write_text(f"{line()}\n\n{json.dumps(pair)}\n", encoding="utf-8")
    assert read_comparisons(file) == [
        Comparison(context="c", candidates=("a", "b"), scores=(5, 1)),
        Comparison(context="d", candidates=("yes", "no"), scores=(5, 2)),
    ]


MISTAKES = {
    "not json": ("{", "not JSON (Expecting property name enclosed in double quotes at column 2)"),
    "not an object": ("[1]", "not a JSON object"),
    "nested without end": ("[" * 200_000, "nested too deeply"),
    "no context": (line(context=...), "context is missing"),
    "a context that is no text": (line(context=["c"]), "context is not a text"),
    "a key that is nearly right": (
        line(candidate=["a"]),
        "unknown key 'candidate': did you mean candidates?",
    ),
    "a key from elsewhere": (line(weight=1), "unknown key 'weight': known are context"),
    "no candidates": (line(candidates=...), "candidates are missing"),
    "an empty list": (line(candidates=[], scores=[]), "no candidates: at least 2"),
    "one candidate": (line(candidates=["a"], scores=[5]), "one candidate: at least 2"),
    "a candidate that is no text": (line(candidates=["a", 7]), "candidates is not a list of texts"),
    "no scores": (line(scores=...), "scores are missing"),
    "too few scores": (
        line(scores=[5]),
        "scores must hold 2 numbers, one per candidate: 1 of them",
    ),
    "scores that are no list": (line(scores="51"), "scores must hold 2 numbers"),
    "a score of six": (line(scores=[6, 1]), "score 6 is not a whole number from 1 to 5"),
    "a score between two": (line(scores=[4.5, 1]), "score 4.5 is not a whole number"),
    "a truth for a score": (line(scores=[True, 1]), "score True is not a whole number"),
    "not a number": (line(scores=[float("nan"), 1]), "score nan is not a whole number"),
    "half a pair": ('{"context": "c", "chosen": "a"}', "rejected is missing"),
    "both ways at once": (
        line(chosen="a", rejected="b"),
        "either candidates and scores, or chosen",
    ),
}


@pytest.mark.parametrize(("wrong", "why"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_one_sentence_with_file_and_line(tmp_path, wrong: str, why: str):
    file = tmp_path / "wrong.jsonl"
    file.write_text(f"{line()}\n{wrong}\n", encoding="utf-8")
    with pytest.raises(BadComparisons) as caught:
        read_comparisons(file)
    assert str(caught.value).startswith(f"{file}, line 2: ")
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read_or_hold_nothing_are_named(tmp_path):
    empty, binary = tmp_path / "empty", tmp_path / "binary"
    empty.write_text("\n \n")
    binary.write_bytes(b"\xff\xfe\x00")
    for path, why in (
        (empty, "is empty: write one comparison a line"),
        (binary, "is not UTF-8 text"),
        (tmp_path / "nowhere", "No such file"),
        (tmp_path, "Is a directory"),
    ):
        with pytest.raises(BadComparisons, match=why):
            read_comparisons(path)


def test_what_is_to_be_scored_needs_no_scores_and_may_stand_alone():
    (alone,) = parse_comparisons('{"context": "c", "candidates": ["a"]}', judged=False)
    assert alone == Comparison(context="c", candidates=("a",))
    assert parse_comparisons(line(), judged=False)[0].scores == (5, 1)
    with pytest.raises(ValueError, match="no candidates"):
        parse_comparisons('{"context": "c", "candidates": []}', judged=False)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=2, max_size=6))
def test_pairs_are_all_two_that_differ_and_the_better_stands_first(scores: list[int]):
    comparison = Comparison(context="c", candidates=("a",) * len(scores), scores=tuple(scores))
    expected = {(i, j) for i, a in enumerate(scores) for j, b in enumerate(scores) if a > b}
    assert set(comparison.pairs) == expected
    assert len(comparison.pairs) == len(expected)
