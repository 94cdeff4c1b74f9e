"""`munro gain`: the verdict in words, the page, and mistakes in one line."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner

from munro.base_model.results import as_line
from munro.base_model.scaling.comparison import compare
from munro.machine.cli.main import munro
from munro.machine.report.plot import Line, Mark, decades, plot, round_steps
from munro.machine.sentences import is_sentence
from munro.machine.verbs.ladder_page import ladder_page
from munro.machine.verbs.verdicts import text
from tests.base_model.ladders import Idea, ladder


@pytest.fixture
def results(tmp_path: Path) -> Path:
    file = tmp_path / "results.jsonl"
    runs = ladder({"wide": Idea(1.3), "tall": Idea(0.7, 1.6)}, noise=0.001)
    file.write_text("".join(map(as_line, runs)))
    return file


def test_it_prints_the_law_every_rung_the_trend_and_the_flip(results):
    done = CliRunner().invoke(munro, ["gain", str(results)])
    assert done.exit_code == 0
    for words in (
        "EG_FLOPs over baseline, weighted loss, 95% intervals",
        "EG_Time over baseline",
        "L = A C^-alpha + E over training FLOPs: A = ",
        "wide: better at R4; holds",
        "tall: better at R4; rises",
        "at the largest rung  wide EG_FLOPs",
        "rank flip: baseline leads tall",
    ):
        assert words in done.output


def test_the_page_is_whole_draws_every_figure_and_runs_no_script(results, tmp_path):
    page = tmp_path / "page.html"
    done = CliRunner().invoke(munro, ["gain", str(results), "--page", str(page)])
    assert f"wrote {page}" in done.output
    html = page.read_text()
    assert html.count("<svg") == 8
    assert "<script" not in html
    assert "default-src 'none'" in html
    assert "://" not in html
    depth: list[str] = []

    class Balance(HTMLParser):
        def handle_starttag(self, tag, attrs):
            if tag not in ("meta", "line", "circle", "polyline"):
                depth.append(tag)

        def handle_endtag(self, tag):
            if tag not in ("line", "circle", "polyline"):
                assert depth.pop() == tag

    Balance().feed(html)
    assert depth == []


def test_names_from_a_results_file_never_become_markup():
    runs = ladder({"<script>alert(1)</script>": Idea(1.2)}, noise=0.001)
    html = ladder_page(compare(runs), runs, title="<b>", config="<i>")
    assert "<script" not in html
    assert "<b>" not in html
    assert "<i>" not in html


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--baseline", "nobody"], "no run is called 'nobody'"),
        (["--weights", "poems=1"], "a weight is given for 'poems'"),
        (["--weights", "code"], "write category=share"),
        (["--level", "95"], "give a share between 0 and 1"),
        (["--noise", "-1"], "a spread is not negative"),
    ],
    ids=lambda value: "",
)
def test_a_mistake_is_a_sentence(results, options, sentence):
    done = CliRunner().invoke(munro, ["gain", str(results), *options])
    assert is_sentence(done.exception)
    assert sentence in str(done.exception)
    assert "\n" not in str(done.exception)


def test_a_page_in_the_place_of_a_folder_is_a_sentence(results, tmp_path):
    done = CliRunner().invoke(munro, ["gain", str(results), "--page", str(tmp_path)])
    assert "is a folder" in str(done.exception)
    assert is_sentence(done.exception)


def test_an_undefined_gain_is_told_as_that():
    runs = ladder({"idea": Idea(1.2)}, noise=0.001)
    low = json.loads(as_line(runs[-1]))
    low["losses"] = dict.fromkeys(low["losses"], 0.5)
    runs[-1] = type(runs[-1])(**low)
    told = text(compare(runs))
    assert "undefined" in told
    assert "a loss at or under the baseline's floor" in told


def test_ticks_are_round_and_within():
    assert decades(3e10, 4e12) == [1e11, 1e12] or len(decades(3e10, 4e12)) >= 3
    assert all(3e10 <= tick <= 4e12 for tick in decades(3e10, 4e12))
    assert round_steps(0.93, 1.42) == pytest.approx([1.0, 1.1, 1.2, 1.3, 1.4])


def test_a_figure_without_a_finite_point_is_left_out():
    nothing = Mark(x=1.0, y=float("inf"), tone="a")
    assert plot([nothing], [Line(points=[], tone="a")], title="t", across="c") == ""
