"""Lines that grow with a run survive crashes, and a full disk is a sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from munro.base_model.training.records import Records, RecordsError

FULL_DISK = Path("/dev/full")


def records(folder: Path, *steps: int) -> Records:
    found = Records(folder / "metrics.jsonl")
    for step in steps:
        found.append({"step": step, "loss": step / 3})
    return found


def test_what_was_appended_is_read_back_in_order(tmp_path):
    assert [one["step"] for one in records(tmp_path, 1, 2, 3)] == [1, 2, 3]
    assert list(Records(tmp_path / "none.jsonl")) == []


def test_steps_that_were_lost_are_dropped(tmp_path):
    found = records(tmp_path, 1, 2, 3)
    found.keep(up_to=2)
    assert list(found) == [{"step": 1, "loss": 1 / 3}, {"step": 2, "loss": 2 / 3}]
    assert [entry.name for entry in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_a_torn_line_is_not_read_and_does_not_spoil_the_next(tmp_path):
    found = records(tmp_path, 1, 2)
    found.file.write_bytes(found.file.read_bytes()[:-3])
    assert [one["step"] for one in found] == [1]
    found.mend()
    found.append({"step": 7})
    assert [json.loads(line)["step"] for line in found.file.read_text().splitlines()] == [1, 7]


@pytest.mark.skipif(not FULL_DISK.exists(), reason="needs the device /dev/full")
def test_a_full_disk_is_told_in_a_sentence():
    with pytest.raises(RecordsError, match=r"cannot write /dev/full: No space left on device\."):
        Records(FULL_DISK).append({"step": 1})


def test_a_folder_that_is_not_there_is_told_in_a_sentence(tmp_path):
    with pytest.raises(RecordsError, match="No such file or directory"):
        Records(tmp_path / "missing" / "metrics.jsonl").append({"step": 1})
