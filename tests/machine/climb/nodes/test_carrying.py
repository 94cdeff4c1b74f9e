"""Checkpoints come and go between nodes that share no disk."""

from __future__ import annotations

import pytest

from munro.base_model.checkpoint import CheckpointError
from munro.machine.climb.cluster import carrying


def call(function, *args):
    return function(*args)


def folder_of(path, files):
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def inside(path):
    return {
        str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()
    }


FILES = {"model.safetensors": bytes(range(256)) * 5, "deep/er": b"x", "empty": b"", "odd": b"123"}


def test_a_folder_comes_whole_part_by_part_and_goes_there(tmp_path, monkeypatch):
    monkeypatch.setattr(carrying, "PART", 100)
    there = folder_of(tmp_path / "there", FILES)
    here = folder_of(tmp_path / "runs" / "step-000002", {"old": b"gone"})
    carrying.bring(str(there), here, call)
    assert inside(here) == FILES
    assert not there.exists()
    carrying.send(here, str(there), call)
    assert inside(there) == FILES
    carrying.remove(str(there))
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_one_that_breaks_off_leaves_what_stood_there(tmp_path, monkeypatch):
    there = folder_of(tmp_path / "there", FILES)
    here = folder_of(tmp_path / "here", {"old": b"stays"})

    def broken(function, *args):
        if function is carrying.read:
            raise OSError(5, "the node is gone")
        return function(*args)

    with pytest.raises(CheckpointError, match="the node is gone"):
        carrying.bring(str(there), here, broken)
    assert inside(here) == {"old": b"stays"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "there"]


def test_a_folder_of_the_same_name_is_not_the_same_folder(tmp_path):
    assert carrying.is_seen(tmp_path / "checkpoints", call)
    elsewhere = tmp_path / "elsewhere"

    def on_another_disk(function, path):
        return function(path.replace(str(tmp_path), str(elsewhere)))

    folder_of(elsewhere, {"checkpoints/.seen": b""})
    assert not carrying.is_seen(tmp_path / "checkpoints", on_another_disk)
    assert list((tmp_path / "checkpoints").iterdir()) == []
