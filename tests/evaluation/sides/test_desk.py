"""A click is on the disk before it is answered; what is none of the choices is refused and told."""

from __future__ import annotations

import errno
import json
import os

import pytest

from munro.evaluation.sides.desk import Desk, Refused
from munro.evaluation.sides.journal import Click, Journal, clicks_of
from munro.evaluation.sides.study import CLICKS, Asked
from munro.evaluation.sides.types import BadSides
from tests.evaluation.sides.studies import study


def opened(folder):
    return Desk(Asked.read(folder), Journal(folder / CLICKS))


def sent(look=0, field="preference", value=3, tab="t"):
    return {"look": look, "field": field, "value": value, "tab": tab}


@pytest.fixture
def folder(tmp_path):
    return study(tmp_path, 12, criteria=("right",))


@pytest.fixture
def desk(folder):
    desk = opened(folder)
    yield desk
    desk._journal.close()


def finish(desk, look, tab="t"):
    desk.click("r1", sent(look, "preference", 6, tab))
    for side in ("left", "right"):
        desk.click("r1", sent(look, f"{side}/right", 2, tab))
    return desk.click("r1", sent(look, "done", None, tab))


def test_a_click_is_on_the_disk_when_it_is_answered(desk, folder):
    desk.now("r1")
    desk.click("r1", sent(value=6))
    last = json.loads((folder / CLICKS).read_text().splitlines()[-1])
    assert (last["rater"], last["field"], last["value"]) == ("r1", "preference", 6)


def test_another_desk_goes_on_where_this_one_was(desk, folder):
    finish(desk, 0)
    desk.click("r1", sent(1, value=2))
    desk._journal.close()
    now = opened(folder).now("r1")
    assert (now["look"], now["done"], now["chosen"]) == (1, 1, {"preference": 2})


def test_a_half_written_line_is_taken_away_and_no_other(desk, folder):
    finish(desk, 0)
    desk._journal.close()
    whole = (folder / CLICKS).read_bytes()
    for cut in (1, 40, len(whole.splitlines()[-1])):
        (folder / CLICKS).write_bytes(whole + b"x" * cut)
        again = opened(folder)
        assert again.now("r1")["done"] == 1
        again._journal.close()
        kept = (folder / CLICKS).read_bytes()
        assert kept.startswith(whole)
        assert kept.endswith(b"\n")
    (folder / CLICKS).write_bytes(b"nonsense\n" + whole)
    with pytest.raises(BadSides, match="line 1 is no click"):
        opened(folder)


@pytest.mark.parametrize(
    ("click", "status", "why"),
    [
        (sent(value=9), 400, "from 1 to 7"),
        (sent(value=0), 400, "from 1 to 7"),
        (sent(value=3.0), 400, "from 1 to 7"),
        (sent(value=True), 400, "from 1 to 7"),
        (sent(value="3"), 400, "from 1 to 7"),
        (sent(value=[3]), 400, "from 1 to 7"),
        (sent(field="left/right", value=3), 400, "from 0 to 2"),
        (sent(field="left/wit"), 400, "no such question"),
        (sent(field="shown"), 400, "no such question"),
        (sent(field="done"), 400, "Still to choose: preference"),
        (sent(look=1), 409, "another window"),
        (sent(look=-1), 409, "another window"),
        (sent(look="0"), 400, "says its look"),
        (sent(field=None), 400, "says its look"),
    ],
)
def test_what_is_none_of_the_choices_is_refused_and_kept_for_the_report(
    desk, folder, click, status, why
):
    with pytest.raises(Refused, match=why) as refused:
        desk.click("r1", click)
    assert refused.value.status == status
    assert desk.now("r1")["chosen"] == {}
    noted = [one for one in clicks_of(folder / CLICKS) if one.field in ("stale", "refused")]
    assert len(noted) == 1


def test_nobody_fills_the_disk_with_refusals(desk, folder, monkeypatch):
    monkeypatch.setattr("munro.evaluation.sides.desk.MOST_NOTED", 5)
    for _ in range(20):
        with pytest.raises(Refused):
            desk.click("r1", sent(value=9))
    assert len((folder / CLICKS).read_text().splitlines()) == 5


def test_an_answer_that_was_lost_is_asked_for_again_and_counts_once(desk):
    finish(desk, 0)
    assert desk.click("r1", sent(0, "done", None)) == {"saved": True}
    assert desk.now("r1")["done"] == 1
    with pytest.raises(Refused, match="another window"):
        desk.click("r1", sent(0, "done", None, "another"))


def test_one_process_at_a_time(desk, folder):
    with pytest.raises(BadSides, match="another process serves this study"):
        Journal(folder / CLICKS)


def test_a_full_disk_keeps_nothing_by_half_and_says_so(desk, folder, monkeypatch):
    desk.now("r1")
    before = (folder / CLICKS).read_bytes()
    written = os.write

    def short(file, data):
        written(file, data[:7])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", short)
    with pytest.raises(OSError, match="No space"):
        desk.click("r1", sent())
    monkeypatch.undo()
    assert (folder / CLICKS).read_bytes() == before
    assert desk.now("r1")["chosen"] == {}
    desk.click("r1", sent())
    assert desk.now("r1")["chosen"] == {"preference": 3}


def test_a_click_is_flushed_before_it_counts(desk, monkeypatch):
    order = []
    monkeypatch.setattr(os, "fsync", lambda file: order.append(dict(desk._raters["r1"].chosen)))
    desk.click("r1", sent())
    assert order == [{}]
    assert desk.now("r1")["chosen"] == {"preference": 3}


def test_clicks_read_back_as_they_were_written(tmp_path):
    click = Click(at=1.5, rater="ann", look=3, field="left/right", value=2, tab="x")
    journal = Journal(tmp_path / CLICKS)
    journal.add(click)
    assert list(clicks_of(tmp_path / CLICKS)) == [click]
    journal.close()
    assert list(clicks_of(tmp_path / "none")) == []
