"""What a journal keeps over kills, and the funnel it prints."""

from __future__ import annotations

import pytest

from munro.envs.swe_build.errors import BadRepository, Dropped
from munro.envs.swe_build.journal import KEPT, NAME, PASSED, Journal
from munro.envs.swe_build.leaks import Hit

SETTINGS = {"repository": "a", "history": "none"}


def test_it_goes_on_where_it_was_whatever_a_kill_cut_off(tmp_path):
    journal = Journal.open(tmp_path, SETTINGS, resume=False)
    journal.note("one", "suite runs", PASSED)
    journal.note("one", "kept", KEPT)
    journal.drop("two", Dropped("F2P", "no test fails before"))
    journal.note("three", "suite runs", PASSED)
    path = tmp_path / NAME
    path.write_bytes(path.read_bytes() + b'{"candidate": "four", "outco')
    again = Journal.open(tmp_path, SETTINGS, resume=True)
    assert again.done.keys() == {"one", "two"}
    again.note("five", "kept", KEPT)
    assert Journal.open(tmp_path, SETTINGS, resume=True).done.keys() == {"one", "two", "five"}


def test_what_the_machine_shows_is_read_once_for_a_build(tmp_path):
    journal = Journal.open(tmp_path, SETTINGS, resume=False)
    journal.show({"one": [Hit("/usr/a.py", "lines of the fix")], "two": []})
    again = Journal.open(tmp_path, SETTINGS, resume=True)
    assert again.shown == {"one": [Hit("/usr/a.py", "lines of the fix")], "two": []}
    assert again.done == {}
    again.show({"three": ()})
    assert Journal.open(tmp_path, SETTINGS, resume=True).shown.keys() == {"one", "two", "three"}


def test_another_build_is_not_gone_on_with(tmp_path):
    Journal.open(tmp_path, SETTINGS, resume=False)
    with pytest.raises(BadRepository, match="add --resume"):
        Journal.open(tmp_path, SETTINGS, resume=False)
    with pytest.raises(BadRepository, match="begun with history = 'none', now it is 'past'"):
        Journal.open(tmp_path, {**SETTINGS, "history": "past"}, resume=True)


def test_the_funnel_counts_and_says_why(tmp_path):
    journal = Journal.open(tmp_path, SETTINGS, resume=True)
    for number in range(4):
        journal.drop(f"a{number}", Dropped("candidates", "no test changed"))
    journal.drop("b", Dropped("candidates", "no code changed"))
    journal.drop("c", Dropped("F2P", "no test fails before and passes after"))
    journal.drop("d", Dropped("leak-free", "a visible file holds the fix"))
    journal.note("e", "kept", KEPT)
    lines = journal.funnel(num_commits=20)
    words = [line.split() for line in lines]
    assert ["commits", "20"] in words
    assert ["looked", "at", "8"] in words
    assert words[2][:2] == ["candidates", "3"]
    assert words[3] == ["4", "no", "test", "changed"]
    numbers = {line[:12].strip(): int(line[12:19]) for line in lines if line[:1].strip()}
    assert numbers["suite runs"] == 3
    assert numbers["F2P"] == 2
    assert numbers["strong"] == 2
    assert numbers["leak-free"] == 1
    assert numbers["kept"] == 1
