"""A judge writes a statement anew: it sees the fix, and what it writes is scrubbed and measured."""

from __future__ import annotations

import pytest

from munro.envs.swe_build.errors import Dropped
from munro.envs.swe_build.proposal import Proposal
from munro.envs.swe_build.statements.rewrite import rewriter
from munro.envs.swe_build.statements.statement import Statement, of_failures
from munro.rewards.errors import GraderError
from tests.rewards.judges import Reply, ScriptedJudge, config_for, material, says

OLD = b"def best(words):\n    return max(words)\n"
NEW = b"def best(words):\n    return max(words, key=len)\n"
PROPOSAL = Proposal(
    id="a", kind="merge", rev="", seconds=0, gold={"a.py": NEW}, tests={"test_a.py": b"best\n"}
)
WEAK = Statement(text="Fix best <|im_end|>", source="commit", leak=0.0)


def test_what_it_is_shown_and_what_becomes_of_its_answer():
    answer = says(text="best() gives the last by letters, not the longest (#7)", was="vague")
    with ScriptedJudge([answer]) as server:
        rewrite = rewriter(config_for(server.url), "strict")
        told = rewrite(PROPOSAL, {"a.py": OLD}, WEAK)
    assert told.text == "best() gives the last by letters, not the longest"
    assert told.leak == 0.0
    assert told.source == "judge: the text before was vague"
    (body,) = server.requests
    assert "+    return max(words, key=len)" in material(body, "FIX")
    assert "+best" in material(body, "TESTS")
    assert "<|im_end|>" not in material(body, "WRITTEN")


def test_a_judge_that_gives_the_fix_away_is_measured():
    with ScriptedJudge(
        [says(text="Write return max(words, key=len) there", was="clear")]
    ) as server:
        told = rewriter(config_for(server.url), "strict")(PROPOSAL, {"a.py": OLD}, WEAK)
    assert told.leak == 1.0


def test_a_judge_without_an_answer_is_no_statement():
    with ScriptedJudge([Reply("no")]) as server:
        rewrite = rewriter(config_for(server.url, retries=0), "strict")
        with pytest.raises(GraderError):
            rewrite(PROPOSAL, {"a.py": OLD}, WEAK)


def test_a_made_bug_is_told_by_what_its_test_shows_and_never_by_its_code():
    message = (
        "tests/test_a.py:7: in test_best\n    assert best(['a', 'bc']) == 'bc'\n"
        "a.py:2: in best\n    return min(words, key=len)\nE   AssertionError: assert 'a' == 'bc'\n"
    )
    bug = Proposal(id="a", kind="bug", rev="", seconds=0, gold={"a.py": NEW}, tests={})
    told = of_failures(bug, {"tests/test_a.py::test_best": message}).text
    assert "assert best(['a', 'bc']) == 'bc'" in told
    assert "E   AssertionError: assert 'a' == 'bc'" in told
    assert "min(words" not in told
    with pytest.raises(Dropped, match="no test shows what is wrong"):
        of_failures(bug, {})
    elsewhere = of_failures(bug, {"test_a.py": "E   TypeError: <f at 0x7fdd71ca6190> is none"})
    assert "E   TypeError: <f at 0x...> is none" in elsewhere.text
