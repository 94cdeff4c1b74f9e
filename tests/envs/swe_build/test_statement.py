"""What a statement may hold: nothing that points to the fix or gives it away."""

from __future__ import annotations

import json

import pytest

from munro.envs.swe_build.errors import BadRepository
from munro.envs.swe_build.proposal import Proposal
from munro.envs.swe_build.statements.statement import linked, read_issues, scrub, stated

OLD = b"def best(words):\n    return max(words)\n"
NEW = b"""def _longest_first(words):
    return sorted(words, key=len, reverse=True)


def best(words, default=None):
    for word in _longest_first(words):
        return word
    return default
"""


def proposal(message: str) -> Proposal:
    return Proposal(
        id="a-1",
        kind="merge",
        rev="0" * 40,
        seconds=0,
        gold={"a.py": NEW},
        tests={"test_a.py": b"def test():\n    assert best([], default=1) == 1\n"},
        message=message,
        provenance={"number": "12"},
    )


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Merge pull request #12 from ada/best\n\nWords of no list", "Words of no list"),
        ("best() fails on [] (#12)", "best() fails on []"),
        ("best() fails. Fixes #9, #10.", "best() fails. ."),
        ("Since 1a2b3c4d5e it fails", "Since it fails"),
        ("As https://example.org/x/pull/1/files says", "As says"),
        ("It fails:\n```diff\n- a\n+ b\n```\nso.", "It fails:\n\nso."),
        ("x\n\nSigned-off-by: Ada <ada@example.org>", "x"),
        ("x\n\nCo-authored-by: Ada <a@b.c>\nCo-Authored-By: B", "x"),
        ("decade faded 1234567 stay", "decade faded 1234567 stay"),
        (
            "diff --git a/x b/x\nindex 12ab..34cd 100644\n--- a/x\n+++ b/x\n@@ -1 +1 @@\nrest",
            "rest",
        ),
    ],
)
def test_what_points_to_the_fix_is_taken_out(text, left):
    assert scrub(text)[0] == left


def test_names_that_only_the_fix_has_are_taken_out():
    told = stated(proposal("best([]) fails: use `_longest_first()` and default"), {"a.py": OLD})
    assert "_longest_first" not in told.text
    assert "default" in told.text  # which the hidden tests ask for
    assert "names that only the fix has" in told.scrubbed


def test_a_statement_that_holds_the_fix_says_how_much_of_it():
    clean = stated(proposal("best([]) raises ValueError"), {"a.py": OLD})
    assert clean.leak == 0
    told = stated(
        proposal("do\n  return sorted(words,  key=len, reverse=True)\nthen\nreturn default"),
        {"a.py": OLD},
    )
    assert told.leak == pytest.approx(2 / 6)  # of six added lines of eight characters and more


def test_issues_are_found_by_the_number_that_a_fix_names(tmp_path):
    (tmp_path / "9.md").write_text("best of nothing raises")
    (tmp_path / "12.json").write_text(json.dumps({"title": "Best", "body": None}))
    (tmp_path / "notes.txt").write_text("not an issue")
    issues = read_issues(tmp_path)
    assert linked(proposal("Fixes #9"), issues) == "best of nothing raises"
    assert linked(proposal("Mend it"), issues) == "Best\n\n"
    assert linked(proposal("Fixes #9"), {}) == ""
    assert stated(proposal("Fixes #9"), {}, issues).source == "issue"


def test_wrong_exports_of_issues_are_told_in_one_line(tmp_path):
    with pytest.raises(BadRepository, match="no such folder"):
        read_issues(tmp_path / "none")
    with pytest.raises(BadRepository, match=r"files like 17\.md"):
        read_issues(tmp_path)
    (tmp_path / "3.json").write_text("[1]")
    with pytest.raises(BadRepository, match="an object with title and body"):
        read_issues(tmp_path)
