"""Harnesses behind an address: seeds of ours, whole logs or a sentence, and no run taken twice."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest

from munro.evaluation.harnessed import Order, attempts
from munro.evaluation.independence import copies
from munro.evaluation.job import BadHarness
from munro.evaluation.suite import seed_of
from tests.evaluation.addresses import recording, stand_in


@pytest.fixture
def address():
    with recording() as place:
        yield place


def order(folder, mode="", **changes):
    given = {"harness": "lm-eval", "tasks": ("sums",), "runs": 3, "python": stand_in(folder, mode)}
    return Order(**(given | changes))


@pytest.fixture
def of_inspect(tmp_path):
    file = tmp_path / "sums.py"
    file.write_text("")
    return {"harness": "inspect", "tasks": (str(file),)}


def test_every_run_has_a_seed_of_its_own_and_every_request_of_it_the_same(tmp_path, address):
    rows = attempts(order(tmp_path), address, tmp_path / "out")
    seeds = [body["seed"] for body in address.asked]
    assert seeds == [seed_of(0, run) for run in range(3) for _ in range(4)]
    assert len({*seeds}) == 3
    assert [(row.entry, row.task, row.run) for row in rows] == [
        ("sums", str(task), run) for run in range(3) for task in range(4)
    ]
    first = rows[0]
    assert (first.passed, first.reward, first.parts) == (True, 1.0, {"none/exact_match": 1.0})
    assert (first.prompt, first.reply, first.seed) == ("task 0", str(seeds[0]), seeds[0])


def test_inspect_is_read_back_as_well(tmp_path, address, of_inspect):
    rows = attempts(order(tmp_path, **of_inspect), address, tmp_path / "out")
    assert {body["seed"] for body in address.asked} == {seed_of(0, run) for run in range(3)}
    assert [row.passed for row in rows[:4]] == [True, False, True, False]
    assert rows[1].parts == {"match/score": 0.0}
    assert (rows[0].labels, rows[0].num_tokens) == ({"category": "sums"}, 3)


def test_a_whole_run_is_not_made_again_and_another_order_is(tmp_path, address):
    asked = order(tmp_path)
    attempts(asked, address, tmp_path / "out")
    attempts(asked, address, tmp_path / "out")
    assert len(address.asked) == 12
    attempts(replace(asked, runs=4), address, tmp_path / "out")
    assert len(address.asked) == 16
    attempts(replace(asked, temperature=0.5), address, tmp_path / "out")
    assert len(address.asked) == 28


def test_runs_that_are_copies_are_refused(tmp_path, address):
    address.says = "42"
    with pytest.raises(BadHarness, match="all 3 runs are byte for byte the same on all 4 tasks"):
        attempts(order(tmp_path), address, tmp_path / "out")
    assert len(attempts(order(tmp_path, runs=1), address, tmp_path / "out")) == 4


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("nothing", "wrote no samples into .* ended as if all were well; .*: all is well"),
        ("half", "wrote 2 of 4 samples of task 'sums' in run 0"),
        ("nan", "of sample . of task 'sums' in run 0 is nan, which is no score"),
        ("repeats", "gave sample '.' of task 'sums' more than once in run 0"),
        ("fails", r"failed in run 0 \(exit status 1\): ValueError: no such task here"),
        ("absent", "has no .*: pip install"),
    ],
)
@pytest.mark.parametrize("kind", ["lm-eval", "inspect"])
def test_what_a_harness_did_not_do_is_one_sentence(tmp_path, address, of_inspect, kind, mode, said):
    changes = of_inspect if kind == "inspect" else {}
    with pytest.raises(BadHarness, match=said) as caught:
        attempts(order(tmp_path, mode, **changes), address, tmp_path / "out")
    assert "\n" not in str(caught.value)


def test_what_inspect_says_broke_is_handed_on(tmp_path, address, of_inspect):
    with pytest.raises(BadHarness, match="could not finish task 'sums' in run 0: it broke"):
        attempts(order(tmp_path, "error", **of_inspect), address, tmp_path / "out")


def test_a_server_that_dies_ends_the_harness_and_says_so(tmp_path, address):
    def die():
        time.sleep(0.3)
        address.is_alive = False

    threading.Thread(target=die).start()
    begun = time.monotonic()
    with pytest.raises(BadHarness, match="ended in the middle of run 0"):
        attempts(order(tmp_path, "waits"), address, tmp_path / "out", looks_every_s=0.1)
    assert time.monotonic() - begun < 60


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"temperature": 0.0}, "--runs 3 at temperature 0 asks for the same answers 3 times"),
        ({"tasks": ("a", "b", "a")}, "--tasks names a more than once"),
        ({"tasks": ()}, "needs --tasks"),
        ({"runs": 0}, "--runs 0"),
        ({"temperature": -1.0}, "--temperature -1"),
        ({"python": "/no/such/python"}, "--harness-python /no/such/python cannot be run"),
        ({"harness": "inspect", "tasks": ("no.py",)}, "there is no file no.py"),
    ],
)
def test_an_order_that_makes_no_sense_is_refused_before_anything_runs(
    tmp_path, address, changes, said
):
    with pytest.raises(BadHarness, match=said):
        attempts(order(tmp_path, **changes), address, tmp_path / "out")
    assert not address.asked


def test_one_run_at_temperature_0_is_an_honest_order(tmp_path, address):
    rows = attempts(order(tmp_path, runs=1, temperature=0.0), address, tmp_path / "out")
    assert len(rows) == 4


def test_a_harness_of_ones_own_is_found_by_its_file(tmp_path, address):
    own = tmp_path / "own.py"
    own.write_text(
        "from munro.evaluation.harness.lm_eval import LmEval\n\nclass Own(LmEval):\n    pass\n"
    )
    rows = attempts(order(tmp_path, harness=str(own), runs=1), address, tmp_path / "out")
    assert len(rows) == 4


def test_two_runs_that_are_one_are_found_among_others_that_differ():
    replies = [[f"{task}a", f"{task}b", f"{task}a", f"{task}c"] for task in range(12)]
    assert copies(replies, temperature=1.0).startswith("runs 0 and 2 are byte for byte the same")
    assert copies(replies, temperature=0.0) == ""


def test_fair_runs_are_never_taken_for_copies():
    import random

    for seed in range(300):
        rng = random.Random(seed)
        # a model that says one of two things, mostly the first
        certain = rng.choice([0.5, 0.8, 0.95])
        replies = [
            [str(rng.random() < certain) for _ in range(4)] for _ in range(rng.choice([5, 20, 60]))
        ]
        said = copies(replies, temperature=1.0)
        assert not said or all(len({*of}) == 1 for of in replies)
