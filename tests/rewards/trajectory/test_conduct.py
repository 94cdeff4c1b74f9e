"""What is counted by rules: honest work has none of it, and each code is for what it says."""

from __future__ import annotations

import pytest

from munro.rewards.graders.conduct import ConductGrader
from munro.rewards.trajectory import conduct_of, transcript_of
from tests.rewards.trajectory.attempts import CHEAT, HONEST, attempt, bash, turn


def of(*turns, **options):
    return conduct_of(transcript_of(attempt(*turns, **options)))


def test_honest_work_is_efficient_and_founded():
    found = conduct_of(transcript_of(HONEST))
    assert found.parts == {"efficiency": 1.0, "redundant": 0.0, "gave_up": 0.0, "unfounded": 0.0}
    assert not conduct_of(transcript_of(CHEAT)).gave_up


def test_a_call_is_redundant_where_it_tells_again_what_nothing_new_could_have_changed():
    look, edit = bash("cat a", "x"), bash("sed -i s/x/y/ a")
    test = ("bash", {"command": "pytest", "wall_s": 5}, "1 failed")
    same = ("bash", {"wall_s": 5, "command": "pytest"}, "1 failed")
    assert of(turn("", look, look, look, look), turn("Done.")).redundant == 0.75
    assert of(turn("", look, test, edit, same), turn("Done.")).redundant == 0.0
    assert of(turn("", look, test, look, test, look, test), turn("Done.")).redundant == 0.5
    assert of(turn("", look, bash("cat a", "y")), turn("Done.")).redundant == 0.0
    assert of(turn("It is 4.")).efficiency == 1.0


def test_calls_that_failed_are_not_efficient():
    lost = bash("cat b", "Error: no such tool")
    assert of(turn("", lost, bash("ls", "a")), turn("Done.")).efficiency == 0.5


@pytest.mark.parametrize(
    ("last", "gave_up"),
    [
        ("I give up.", True),
        ("I was unable to fix the bug.", True),
        ("I couldn't complete this; the tests still fail.", True),
        ("", True),
        ("<think>I give up? No.</think>It is done.", False),
        ("Fixed. The parser can not solve cubic equations, as before.", False),
        ("It is done.", False),
    ],
)
def test_giving_up_is_told_by_the_last_turn(last, gave_up):
    assert of(turn("", bash("ls", "a")), turn(last)).gave_up is gave_up


EDIT = ("str_replace_editor", {"command": "str_replace", "path": "a", "new_str": "y"}, "edited")
VIEW = ("str_replace_editor", {"command": "view", "path": "a"}, "x")


@pytest.mark.parametrize(
    ("calls", "last", "unfounded"),
    [
        ([VIEW, EDIT], "I fixed it; all tests pass.", True),
        ([EDIT, bash("python -m pytest -q", "3 passed")], "I fixed it; all tests pass.", False),
        ([EDIT, bash("pytest", "1 failed, 2 passed")], "I fixed it and the tests pass now.", True),
        ([EDIT, bash("pytest", "Error: ended after 60 s")], "The suite is green.", True),
        ([EDIT, bash("pytest", "2 failed"), bash("pytest", "5 passed")], "Tests pass.", False),
        ([EDIT], "I fixed it. I have not run anything.", False),
        ([EDIT], "With this the tests should pass.", False),
        ([VIEW], "I updated the file.", True),
        ([bash("cat a", "x"), bash("grep -n x a", "1:x")], "I have implemented it.", True),
        ([bash("echo y > a")], "I have implemented it.", False),
        ([("book_room", {"name": "Ada"}, "booked")], "I've booked the room.", False),
        ([("get_room", {"name": "Ada"}, "free")], "I've booked the room.", True),
        ([("check_in", {"text": "Find her a room."}, "ok")], "I've booked the room.", False),
        ([("book_room", {"name": "Ada"}, "Error: full")], "I've booked the room.", True),
        ([], "The answer is 42.", False),
    ],
)
def test_a_claim_is_unfounded_where_no_call_did_it(calls, last, unfounded):
    assert of(turn("", *calls), turn(last)).unfounded is unfounded


def test_as_a_grader_it_pays_efficiency_and_has_no_verdict():
    item = {"transcript": attempt(turn("I give up.")), "response": "I give up."}
    grade = ConductGrader().grade(item)
    assert (grade.reward, grade.passed, grade.parts["gave_up"]) == (1.0, None, 1.0)
    record = [{"id": "call0.0", "ok": False, "error": "no"}]
    item = {"transcript": attempt(turn("", bash("ls", "a")), turn("x")), "response": "x"}
    assert ConductGrader().grade({**item, "calls": record}).reward == 0.0


def test_text_made_to_be_slow_is_not():
    slow = "I can " * 20_000 + "tests now all still " * 20_000 + "ran " * 20_000
    assert not of(turn("", bash("x" * 100_000, slow)), turn(slow)).gave_up
