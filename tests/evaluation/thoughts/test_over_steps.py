"""Curves hold the truth, what was planted is found with its step, and nothing else is."""

from __future__ import annotations

import json
import random
from collections import Counter
from html.parser import HTMLParser

import numpy as np
import pytest
from click.testing import CliRunner

from munro.evaluation.thoughts.over_steps import Groups, Tally, changes, compared, curve
from munro.evaluation.thoughts.page import render
from munro.evaluation.thoughts.report import features_of, look
from munro.evaluation.thoughts.scan import scan
from munro.evaluation.thoughts.types import BadThoughts, Feature, Rows
from munro.machine.cli.main import munro
from tests.evaluation.thoughts.stores import plain, store


def grouped(rates, *, num=16, each=8, seed=0, is_share=True):
    """Groups of a feature whose rate is one of these at every step."""
    chosen = np.random.default_rng(seed)
    steps = np.repeat(np.arange(1, len(rates) + 1), num)
    sums = chosen.binomial(each, np.repeat(rates, num)).astype(float)
    return Groups(step=steps, sums=sums, counts=np.full(len(steps), float(each)), is_share=is_share)


def test_by_hand():
    groups = Groups(
        step=np.array([1, 1, 2, 2]),
        sums=np.array([1.0, 3.0, 0.0, 0.0]),
        counts=np.array([4.0, 4.0, 4.0, 2.0]),
        is_share=False,
    )
    (_, _, first), (_, _, second) = curve(groups)
    # (1 + 3) / 8; off by -1 and 1, so the error is sqrt(2 * 2) / 8, of one degree of freedom
    assert first.mean == 0.5
    assert first.high - first.mean == pytest.approx(12.706 * 0.25, rel=1e-3)
    assert (second.mean, second.low, second.high) == (0, 0, 0)
    share = Groups(**{**fields(groups), "is_share": True})
    assert curve(share)[1][2].high > 0.5  # two groups without it do not prove that none has it


def fields(groups):
    return {name: getattr(groups, name) for name in Groups.__dataclass_fields__}


def test_intervals_hold_the_truth():
    held = total = 0
    for seed in range(20):
        for _, _, one in curve(grouped([0.1] * 20, num=12, seed=seed)):
            held += one.low <= 0.1 <= one.high
            total += 1
    assert held / total >= 0.93


def test_neighbouring_steps_are_put_together():
    points = curve(grouped([0.5] * 100, num=4), 10)
    assert [(first, last) for first, last, _ in points][:2] == [(1, 10), (11, 20)]
    assert len(points) == 10


@pytest.mark.parametrize("at", [20, 50, 80])
def test_a_planted_change_is_found_with_its_step(at):
    """A tenth of the replies from some step on, and none before."""
    rates = np.where(np.arange(1, 101) >= at, 0.1, 0.0)
    found = changes(
        {"planted": grouped(rates, num=8)}
        | {f"noise {n}": grouped([0.1] * 100, num=8, seed=n) for n in range(1, 9)}
    )
    planted = found["planted"]
    assert planted.p < 0.05
    assert planted.step is not None
    assert abs(planted.step - at) <= 10
    assert planted.difference.low > 0
    others = [one for name, one in found.items() if name != "planted"]
    assert all(one.p >= 0.05 for one in others)
    assert all(one.step is None for one in others)


def test_two_halves_of_one_step_differ_in_at_most_one_of_twenty_draws():
    called = 0
    for seed in range(20):
        chosen = np.random.default_rng(seed)
        pairs = {}
        for at, rate in enumerate([0.0, 0.01, 0.02, 0.1, 0.3, 0.5, 0.5, 0.7, 0.97]):
            rates = (
                np.clip(chosen.beta(1, 1 / max(rate, 0.01) - 0.9, 64), 0, 1) if rate else [0] * 64
            )
            sums = chosen.binomial(8, rates).astype(float)
            half = chosen.permutation(64) < 32
            pairs[str(at)] = tuple(
                Groups(step=np.ones(32), sums=sums[some], counts=np.full(32, 8.0), is_share=True)
                for some in (half, ~half)
            )
        called += any(one.p < 0.05 for one in compared(pairs).values())
    assert called <= 1


def test_no_change_in_a_run_without_any():
    called = 0
    for seed in range(20):
        same = {str(n): grouped([0.2] * 40, num=6, seed=100 * seed + n) for n in range(6)}
        found = changes(same, seed=seed).values()
        called += any(one.p < 0.05 or one.step is not None for one in found)
    assert called <= 3  # two tables of one in twenty each


def test_a_run_is_read_from_its_store(tmp_path):
    chosen = random.Random(0)
    replies = {
        step: [
            plain(chosen) + (" Wait, let me check." if step > 6 and at % 4 else "")
            for at in range(24)
        ]
        for step in range(1, 13)
    }
    found = look(store(tmp_path / "s", replies), features_of())
    assert (found.num, len(found.steps)) == (288, 12)
    change = found.changes["checks_itself"]
    assert change.p < 0.05
    assert change.step == 7
    assert (change.early.mean, change.late.mean) == (0, 0.75)
    assert found.changes["tested"].p == 1
    assert "calls_before_edit" not in found.groups
    examples = found.examples["checks_itself"]
    assert {one.step for one in examples} <= {1, 5, 8, 12}
    assert len([one for one in examples if one.step == 12]) == 3
    assert examples[0].found == "Wait"
    assert {one[0] for one in found.as_json()["features"]["length"]["curve"]} == set(range(1, 13))


def test_a_group_that_lies_in_two_batches_counts_once():
    class One(Feature):
        title, is_share = "one", True

        def values(self, rows):
            return np.ones(len(rows.text))

    def part(count):
        return Rows(
            step=np.ones(count, np.int64),
            group=np.zeros(count, np.int64),
            text=["x"] * count,
            tokens=np.ones(count),
            calls=[()] * count,
            prompt=["x"] * count,
            task=["x"] * count,
        )

    tally = Tally({"one": One()})
    tally.add(part(3))
    tally.add(part(5))
    assert (tally.num, tally.groups()["one"].counts.tolist()) == (8, [8])


class Reader(HTMLParser):
    """What elements a page has, and its text."""

    def __init__(self):
        super().__init__()
        self.tags, self.text = set(), []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        assert not any(name.startswith("on") for name, _ in attrs)

    def handle_data(self, data):
        self.text.append(data)


def test_nothing_that_a_model_wrote_is_markup(tmp_path):
    hostile = "Wait <script>alert(1)</script><img src=x onerror=alert(1)> \u202eolleh </pre>"
    replies = {step: [hostile, "x"] * 4 for step in (1, 2)}
    page = render("<b>run</b>", look(store(tmp_path / "s", replies), features_of()))
    read = Reader()
    read.feed(page)
    assert not read.tags & {"script", "img", "b"}
    assert "default-src 'none'" in page
    assert "[U+202E]" in page
    assert "<script>alert(1)</script>" in "".join(read.text)


def test_a_scan_is_of_early_and_late_shuffled_and_unlabelled(tmp_path):
    chosen = random.Random(0)
    replies = {
        step: [plain(chosen) + (" late" if step > 10 else "") for _ in range(12)]
        for step in range(1, 21)
    }
    folder, seen = store(tmp_path / "s", replies), []

    def judge(items):
        seen.extend(items)
        return [float(one["response"].endswith("late")) for one in items], Counter()

    found = scan(folder, judge, number=15, seed=3)
    assert (found.early.mean, found.late.mean, found.asked) == (0, 1, 30)
    assert found.difference.p < 0.05
    assert all(one.keys() == {"question", "response"} for one in seen)
    order = [one["response"].endswith("late") for one in seen]
    assert order != sorted(order)
    assert scan(folder, judge, number=15, seed=3) == found
    with pytest.raises(BadThoughts, match=r"no figure for any early reply \(asleep\)"):
        scan(folder, lambda items: ([None] * len(items), Counter({"asleep": 30})), number=9, seed=0)


@pytest.fixture
def run(tmp_path):
    chosen = random.Random(0)
    folder = tmp_path / "runs" / "mine"
    store(folder / "rollouts", {s: [plain(chosen), "wait"] * 4 for s in range(1, 9)})
    (folder / "run.json").write_text("{}")
    return folder


def test_the_command_writes_a_page_and_its_data(run):
    words = ["--mark", "even=even", "--scan", "pattern", "--pattern", "wait", "--number", "5"]
    done = CliRunner().invoke(munro, ["thoughts", str(run), *words])
    assert done.exit_code == 0, done.output
    assert "64 attempts of 8 steps" in done.output
    assert "even" in done.output
    assert "10 replies, shuffled and without their steps" in done.output
    data = json.loads((run / "thoughts.json").read_text())
    assert data["features"]["checks_itself"]["curve"][0][1] == 0.5
    assert data["scan"]["judge"] == "pattern"
    assert "even" in (run / "thoughts.html").read_text()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--mark", "x"], "write NAME=PATTERN"),
        (["--pattern", "x"], "options of a judge go with --scan"),
        (["--scan", "nobody"], "nobody"),
    ],
)
def test_what_is_typed_wrong_is_one_sentence(run, words, why):
    done = CliRunner().invoke(munro, ["thoughts", str(run), *words])
    assert why in str(done.exception)
    assert type(done.exception).is_sentence


def test_no_run_no_rollouts_and_a_cut_file(run, tmp_path):
    def told(path):
        return str(CliRunner().invoke(munro, ["thoughts", str(path)]).exception)

    assert "There is no run at" in told(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "run.json").write_text("{}")
    assert "holds no rollouts" in told(tmp_path / "empty")
    file = next((run / "rollouts").glob("*.parquet"))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    done = CliRunner().invoke(munro, ["thoughts", str(run)])
    assert done.exit_code == 0, done.output
    assert "cut short" in done.output
