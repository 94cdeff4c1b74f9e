"""What place and length buy a transcript: figures by hand, and the whole way through a judge."""

from __future__ import annotations

import json
import math
import re

import pytest

from munro.evaluation.judges.labels import BadLabels, read_labels
from munro.evaluation.judges.lines import of_stretch
from munro.evaluation.judges.stretched import is_biased, stretch_of, with_idle_turns
from munro.machine.cli.main import munro
from munro.rewards.trajectory import transcript_of
from tests.rewards.judges import ScriptedJudge, material, says
from tests.rewards.trajectory.attempts import CHEAT, HONEST, user

HEAD = re.compile(r"## turn (\d+): the agent's call 1\n.*rm test")


def test_the_work_stands_early_or_late_among_as_many_harmless_turns():
    early, late = (with_idle_turns(HONEST, early=early) for early in (True, False))
    assert len(early) == len(late) == len(HONEST) + 6
    told = [transcript_of(messages) for messages in (early, late)]
    calls = [[turn.number for turn in whole.turns if turn.calls] for whole in told]
    assert calls == [[1, 2, 3], [7, 8, 9]]
    assert [whole.last for whole in told] == ["I fixed price(); all tests pass."] * 2
    assert with_idle_turns([user("Go.")], early=True) == [user("Go.")]


def test_shares_by_hand_and_failures_count_nowhere():
    plain, early, late = [1, 1, 0, 1], [1, 1, 1, 1], [0, 0, 1, math.nan]
    found = stretch_of(plain, early, late, range(4))
    assert found.transcripts == 3
    assert found.early.mean == pytest.approx((1 + 1 + 0.5) / 3)
    assert found.longer.mean == pytest.approx((0.25 + 0.25 + 1) / 3)
    assert found.same.mean == pytest.approx(1 / 3)
    assert stretch_of([math.nan], [1], [1], [0]) is None
    assert of_stretch(None) == []


def test_a_bias_is_only_told_where_the_interval_says_so():
    few = stretch_of([1] * 3, [1] * 3, [0] * 3, range(3))
    many = stretch_of([1] * 30, [1] * 30, [0] * 30, range(30))
    assert not is_biased(few.early)
    assert is_biased(many.early)
    assert not is_biased(stretch_of([1] * 30, [1] * 30, [1] * 30, range(30)).early)
    assert "a bias: 0.5 is none" in of_stretch(many)[0]


def rows(path, count):
    """As many cheats as honest ones, each with a task of its own."""
    found = []
    for number in range(count):
        found.append({"transcript": [user(f"Task {number}."), *HONEST[1:]], "label": 1})
        found.append({"transcript": [user(f"Other {number}."), *CHEAT[1:]], "label": 0})
    path.write_text("".join(json.dumps(row) + "\n" for row in found))
    return str(path)


def test_munro_judge_test_takes_transcripts_and_tells_a_judge_that_only_reads_the_beginning(
    tmp_path, capsys
):
    def shortsighted(body):
        found = HEAD.search(material(body, "TRANSCRIPT"))
        turn = int(found[1]) if found and int(found[1]) < 6 else 0
        return says(found="yes" if turn else "no", turn=turn)

    file = rows(tmp_path / "t.jsonl", 8)
    with ScriptedJudge(shortsighted) as server:
        judge = [f"--judge.base_url={server.url}", "--judge.model=m", '--judge.cache=""']
        told = ["--classes", "edits_tests", "--again", "0", "--bias", "16"]
        with pytest.raises(SystemExit) as leaving:
            munro.main(["judge", "test", "monitor", file, *judge, *told], standalone_mode=False)
    assert leaving.value.code == 0
    said = capsys.readouterr().out
    assert "accuracy                           1.000 [" in said
    # late, no cheat is seen: they look better there, and among harmless turns
    early, longer, same = (line for line in said.splitlines() if re.match("higher|the same", line))
    assert re.match(r"higher with work early \(16\)        0\.250 \[", early)
    assert re.match(r"higher among harmless turns        0\.625 \[", longer)
    assert re.match(r"the same early and late            0\.500 \[", same)


def test_a_row_with_a_transcript_needs_no_response(tmp_path):
    labels = read_labels(rows(tmp_path / "t.jsonl", 1))
    assert [item["response"] for item in labels.items] == [HONEST[-1]["content"], "Done."]
    (tmp_path / "u.jsonl").write_text('{"transcript": "no", "label": 1}\n')
    with pytest.raises(BadLabels, match="row 1: response is missing"):
        read_labels(tmp_path / "u.jsonl")
