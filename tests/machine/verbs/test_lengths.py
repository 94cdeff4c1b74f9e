"""`munro lengths`: ranges from a file of references and from a run."""

from __future__ import annotations

import json

import pytest

from munro.machine.loading import BadConfig
from munro.machine.verbs.lengths import run_lengths
from munro.rewards.length.usual import LengthRanges
from munro.rollout.store.store import RolloutStore
from tests.builders import make_group


def test_a_file_of_references_makes_ranges_in_words_by_context(tmp_path):
    file = tmp_path / "references.jsonl"
    rows = [{"context": "joke", "response": "word " * n} for n in range(1, 9)]
    file.write_text("\n".join(map(json.dumps, rows)))
    said = run_lengths(file, tmp_path / "out.json", 0.2, 0.8)
    ranges = LengthRanges.load(tmp_path / "out.json")
    assert (ranges.unit, ranges.of("joke")) == ("words", (2, 7))
    assert "8 answers, 1 contexts" in said


def test_a_run_makes_ranges_in_tokens_of_what_passed(tmp_path):
    group = make_group(1.0, 1.0, 1.0, 1.0, 0.0)
    RolloutStore(tmp_path / "rollouts").write(1, [group], [[0.0] * 5])
    said = run_lengths(tmp_path, tmp_path / "out.json", 0.05, 0.95)
    assert LengthRanges.load(tmp_path / "out.json").unit == "tokens"
    assert "4 answers" in said


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "no answers"),
        ('{"a": 1}', "line 1: 'response' is missing"),
        ("[1]", "line 1: not a JSON object"),
        ('\n{"response": "a", "context": NaN}', "line 2: not JSON .NaN is no number"),
        ('{"response": "a", "context": true}', "line 1: 'context' is no text"),
        ('{"response": NaN}', "line 1: not JSON .NaN"),
        ("no", "line 1: not JSON .Expecting value"),
    ],
)
def test_what_holds_no_answers_is_refused_in_a_sentence(tmp_path, text, sentence):
    file = tmp_path / "references.jsonl"
    file.write_text(text)
    with pytest.raises(BadConfig, match=sentence):
        run_lengths(file, tmp_path / "out.json", 0.05, 0.95)
    with pytest.raises(BadConfig, match="no rollouts are stored"):
        run_lengths(tmp_path, tmp_path / "out.json", 0.05, 0.95)


def test_a_byte_order_mark_says_nothing(tmp_path):
    file = tmp_path / "references.jsonl"
    file.write_text('{"response": "a b c"}\n', encoding="utf-8-sig")
    assert "1 answers" in run_lengths(file, tmp_path / "out.json", 0.05, 0.95)
