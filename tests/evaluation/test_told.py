"""What a person is told and shown; hostile texts among it."""

from __future__ import annotations

import pytest

from munro.evaluation.page import MOST_TEXT, write_page
from munro.evaluation.results import Results
from munro.evaluation.told import comparison_lines, entry_lines
from munro.evaluation.types import AttemptRow
from tests.evaluation.kept import kept


def row(task="t", run=0, **more):
    more = {"entry": "sums", "seed": 0, "passed": True, "reward": 1.0} | more
    return AttemptRow(task=task, run=run, **more)


def test_lines_of_an_entry():
    rows = [row(f"t{n}", r, num_tokens=3 + n, ending="answered") for n in range(4) for r in (0, 1)]
    said = dict(entry_lines(rows, k=2, num_trained=1))
    assert said["tasks"].startswith("3 held out, 1 that training has too")
    assert said["pass@1"].startswith("1.000 [0.")
    assert said["pass@1"].endswith("(95% interval over tasks)")
    assert said["pass@2"] == "1.000"
    assert said["response length"] == "4.5 tokens on average, 6 at most"
    assert "reward" not in said  # it is the verdict
    more = dict(entry_lines([row(f"t{n}", reward=0.5, cluster="one") for n in range(3)]))
    assert more["reward"].startswith("0.500")
    assert more["pass@1"].endswith("(95% interval over 1 clusters of tasks)")


def test_an_entry_of_which_nothing_was_scored():
    said = dict(entry_lines([row(passed=False, failed="judge away")]))
    assert said.keys() == {"tasks", "not scored"}
    assert "1 attempts: judge away; the same command" in said["not scored"]


def test_lines_of_a_comparison(tmp_path):
    from munro.evaluation.compare import compare

    a = kept(tmp_path / "old", [[0, 0]] * 9 + [[1, 1]] * 31)
    b = kept(tmp_path / "new", [[1, 1]] * 8 + [[0, 0]] + [[1, 1]] * 31)
    said = "\n".join(comparison_lines(compare([a, b]), most_flips=2))
    assert "new against old, 40 tasks" in said
    assert "differs" in said
    assert "8 tasks up, 0 down" in said
    assert said.count("0.00 -> 1.00") == 2


@pytest.mark.parametrize(
    "hostile", ["<script>alert(1)</script>", "\u202eright to left", "x" * 2_000_000, "\x00\ud800"]
)
def test_a_page_shows_what_was_written_as_text(tmp_path, hostile):
    results = Results(tmp_path / "<b>name")
    results.add([row(hostile[:50] or "t", prompt=hostile, reply=hostile, failed=hostile[:99])])
    text = write_page(results).read_text()
    assert "<script" not in text
    assert "<b>name" not in text
    assert len(text) < 4 * MOST_TEXT + 10_000
    assert '<pre dir="auto">' in text


def test_a_page_of_half_an_evaluation_says_so(tmp_path):
    half = kept(tmp_path, [[1, 0]] * 3, asked={"tasks": 6})
    assert "Not whole: 6 of 12 attempts of sums are missing" in write_page(half).read_text()
