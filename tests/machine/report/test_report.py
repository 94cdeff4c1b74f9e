"""The page of a run: whole, self-contained, and deaf to what a model wrote."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from munro.machine.report.figures import specify
from munro.machine.report.page import embedded
from munro.machine.report.picture import smooth
from munro.machine.report.report import save_picture, write_report
from munro.machine.report.rollouts import HEAD, MOST_BYTES, TAIL, sample, shortened
from munro.machine.run.files import RunError
from munro.machine.run.folder import RunFolder, Status
from munro.rollout.store.store import RolloutStore
from tests.builders import make_attempt, make_group, make_task, make_trajectory
from tests.machine.builders import CONFIG, HOSTILE, make_metrics, make_run

VOID = {"meta", "br", "img", "link", "input"}


class Reader(HTMLParser):
    """Collects every element with its attributes and its text; insists that all are closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.opened = [], [], text
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        element = {"tag": tag, "text": "", **dict(attrs)}
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag):
        assert self.open.pop()["tag"] == tag

    def handle_data(self, data):
        if self.open:
            self.open[-1]["text"] += data

    def all(self, tag):
        return [element for element in self.elements if element["tag"] == tag]


def read(path):
    return Reader(path.read_text(encoding="utf-8"))


def data_of(page):
    (block,) = (script for script in page.all("script") if script.get("id") == "data")
    return json.loads(block["text"])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "stem", resumed=True)


@pytest.fixture(scope="module")
def page(run):
    return read(write_report(run.path))


def test_the_page_holds_the_metrics_as_they_were_logged(run, page):
    data = data_of(page)
    lines = run.metrics.read()
    assert data["steps"] == [line["step"] for line in lines] == list(range(1, 41))
    logged = [line["reward/total"] for line in lines]
    assert data["columns"]["reward/total"] == pytest.approx(logged, rel=1e-5)
    assert data["columns"]["eval/pass_rate"].count(None) == 40 - 9


def test_the_page_says_how_the_run_stands_and_where_it_comes_from(run, page):
    assert [element["text"] for element in page.all("h1")] == ["stem"]
    (status,) = (each for each in page.all("span") if "status" in each.get("class", ""))
    assert status["text"] == "finished"
    names, values = ([each["text"] for each in page.all(tag)] for tag in ("th", "td"))
    facts = dict(zip(names, values, strict=True))
    assert facts["model"] == "embedded base <tiny>"
    assert (facts["seed"], facts["resumed after"]) == ("1", "13")
    assert facts["torch"] == run.read_info().versions["torch"]
    assert "entropy_target = 0.3" in page.all("pre")[0]["text"]


def test_the_headline_gives_first_and_last_held_out_pass_rate(run, page):
    rates = [line["eval/pass_rate"] for line in run.metrics.read() if "eval/pass_rate" in line]
    said = f"from {rates[0]:.2f} to {rates[-1]:.2f} in 40 steps"
    assert any(said in element["text"] for element in page.all("p"))


def test_the_first_figures_are_the_climb_and_entropy_over_k(page):
    climb, entropy = data_of(page)["figures"][:2]
    drawn = [[series["key"] for series in panel["series"]] for panel in climb["panels"]]
    assert drawn == [
        ["pass_rate/sampled", "eval/pass_rate"],
        ["response/length"],
        ["policy/entropy"],
    ]
    drawn = [[series["key"] for series in panel["series"]] for panel in entropy["panels"]]
    assert drawn == [["policy/entropy"], ["policy/k"], ["clip/low", "clip/high"]]
    assert entropy["panels"][0]["line"] == {"name": "target 0.3", "value": 0.3}


def test_the_figure_says_where_the_controller_had_nothing_to_act_on():
    columns = {"policy/entropy": [0.1] * 12, "policy/k": [2.5] * 12, "clip/low": [0.0] * 12}
    (idle,) = specify(columns | {"clip/high": [0.0] * 12}, targets={})[1:2]
    (works,) = specify(columns | {"clip/high": [0.01] * 12}, targets={})[1:2]
    assert "no ratio reached the clip" in idle["note"]
    assert "no ratio" not in works["note"]


def test_every_figure_draws_only_what_was_measured(page):
    data = data_of(page)
    keys = [s["key"] for f in data["figures"] for p in f["panels"] for s in p["series"]]
    assert set(keys) <= set(data["columns"])
    not_drawn = {"learner/loss", "time/step"}
    assert set(data["columns"]) - set(keys) == not_drawn


def test_resumes_and_events_are_marked_at_their_step(page):
    marked = [(event["step"], event["text"]) for event in data_of(page)["events"]]
    assert marked == [(13, "resumed after step 13"), (20, "length cap 64 -> 128")]


def test_seconds_that_no_phase_claims_are_shown_as_other(page):
    columns = data_of(page)["columns"]
    assert columns["time/other"][1] == pytest.approx(0.1)


def test_phases_and_reasons_that_a_step_does_not_name_count_as_none(page):
    columns = data_of(page)["columns"]
    assert columns["time/eval"][1] == 0
    assert columns["eval/pass_rate"][1] is None


def test_what_a_model_wrote_is_data_and_never_markup(page):
    scripts = page.all("script")
    assert len(scripts) == 2
    assert not [each for each in page.elements if each["tag"] == "img" or "onerror" in each]
    replies = [row["reply"] for row in data_of(page)["rollouts"]["rows"]]
    assert sum(HOSTILE in reply for reply in replies) == 4  # one attack in each stored step
    assert "alert(1)</script>" not in page.opened


def test_only_the_script_of_the_page_may_run_and_nothing_is_fetched(page):
    (policy,) = (m["content"] for m in page.all("meta") if "http-equiv" in m)
    code = page.all("script")[1]["text"]
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    )
    assert not [each for each in page.elements if {"src", "href"} & each.keys()]
    markup = set(re.findall(r"innerHTML|outerHTML|insertAdjacent\w+|document\.write|eval\(", code))
    assert markup == set()
    assert "url(" not in page.all("style")[0]["text"]


def test_embedded_json_is_inert_and_comes_back_whole():
    data = {"text": HOSTILE + "\ud800é山"}
    text = embedded(data)
    assert text.isascii()
    assert not set("<>&") & set(text)
    assert json.loads(text) == data


def test_hostile_names_and_settings_are_escaped(tmp_path):
    run = RunFolder(tmp_path / "a<b>&'\"")
    run.begin({"model": HOSTILE.replace("\x00", "")}, seed=0, provenance={"<i>": "<script>x"})
    run.end(Status.FAILED, "<b>broken</b>")
    page = read(write_report(run))
    assert len(page.all("script")) == 2
    assert not page.all("b")
    assert not page.all("i")
    assert page.all("h1")[0]["text"] == "a<b>&'\""
    assert any(element["text"] == "<b>broken</b>" for element in page.all("p"))


def test_a_run_without_a_step_has_a_page_that_says_so(tmp_path):
    run = RunFolder(tmp_path / "new")
    run.begin(CONFIG, seed=0, provenance={})
    page = read(write_report(run))
    assert any(element["text"] == "No step has been finished yet." for element in page.all("p"))
    assert data_of(page)["figures"] == []


def test_a_report_of_no_run_is_refused(tmp_path):
    with pytest.raises(RunError, match="no run at"):
        write_report(tmp_path)


def test_a_long_run_is_thinned_to_means_and_stays_small(tmp_path):
    run = RunFolder(tmp_path / "long")
    run.begin(CONFIG, seed=0, provenance={})
    rng = random.Random(0)
    lines = [{"step": s} | make_metrics(s, 3000, rng) for s in range(1, 3001)]
    run.metrics.path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    path = write_report(run)
    data = data_of(read(path))
    assert data["steps"] == list(range(2, 3001, 2))
    first = sum(line["reward/total"] for line in lines[:2]) / 2
    assert data["columns"]["reward/total"][0] == pytest.approx(first, rel=1e-5)
    assert path.stat().st_size < 2_000_000


def store_run(folder, *, num_steps, num_groups, size, reply):
    store = RolloutStore(folder)
    for step in range(1, num_steps + 1):
        groups = [
            make_group(
                index=at,
                task=make_task(f"{step}+{at}"),
                attempts=tuple(
                    make_attempt(float(n % 2), trajectory=make_trajectory(reply=reply, messages=()))
                    for n in range(size)
                ),
            )
            for at in range(num_groups)
        ]
        store.write(step, groups, [[0.0] * size for _ in groups])
    return store


def test_rollouts_are_sampled_over_all_steps_as_siblings(tmp_path):
    store_run(tmp_path, num_steps=3, num_groups=20, size=8, reply="42")
    rollouts = sample(tmp_path, most_rows=60)
    rows = rollouts["rows"]
    assert rollouts["total"] == 3 * 20 * 8
    assert 30 <= len(rows) <= 60
    assert {row["step"] for row in rows} == {1, 2, 3}
    tasks = [row["task_id"] for row in rows]
    assert all(tasks.count(task) == 4 for task in tasks)
    assert {row["passed"] for row in rows} == {True, False}
    assert rollouts["prompts"][rows[0]["prompt"]] == f"What is {tasks[0]}?"


def test_huge_rollouts_are_shortened_and_thinned_until_the_page_is_small(tmp_path):
    store_run(tmp_path, num_steps=2, num_groups=4, size=64, reply="é" * 5000)
    rollouts = sample(tmp_path)
    assert 50 < len(rollouts["rows"]) < 2000
    assert len(json.dumps(rollouts)) <= MOST_BYTES + 1000


def test_a_damaged_rollout_file_is_left_out_by_name(tmp_path):
    store_run(tmp_path, num_steps=2, num_groups=1, size=2, reply="42")
    (tmp_path / "step-000002.parquet").write_bytes(b"PAR1 cut short")
    rollouts = sample(tmp_path)
    assert rollouts["unreadable"] == [2]
    assert {row["step"] for row in rollouts["rows"]} == {1}


def test_a_long_text_keeps_its_beginning_and_its_end():
    text = "a" * HEAD + "b" * 1234 + "c" * TAIL
    assert shortened(text) == "a" * HEAD + "\n[… 1,234 characters left out …]\n" + "c" * TAIL
    assert shortened("short") == "short"


@pytest.mark.filterwarnings("ignore::DeprecationWarning:matplotlib")
def test_the_picture_is_a_png_or_an_svg_and_the_same_every_time(run, tmp_path):
    first, again = (save_picture(run.path, tmp_path / f"{n}.svg").read_bytes() for n in "ab")
    assert first == again
    assert first.startswith(b"<?xml")
    assert save_picture(run.path, tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")


def test_smoothing_keeps_a_constant_and_the_holes():
    values = [2.0] * 200
    values[50] = None
    smoothed = np.array(smooth(values))
    assert np.isnan(smoothed[50])
    assert np.delete(smoothed, 50) == pytest.approx(2.0)
    assert smooth([1.0, 5.0]) == pytest.approx([1.0, 5.0])
