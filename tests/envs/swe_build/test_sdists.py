"""Releases become a history: a commit each, by what their changelogs say, the same each time."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from benchmarks.histories import sdists
from munro.envs.swe_build.git import Repository

RELEASES = {
    "1.0": {"a.py": "x = 1\n", "test_a.py": "", "CHANGES.md": "1.0\nFirst\n", "PKG-INFO": "1.0"},
    "1.1": {"a.py": "x = 2\n", "test_a.py": "", "CHANGES.md": "1.1\nx is 2\n\n1.0\nFirst\n"},
    "1.2": {"a.py": "x = 2\n", "b.py": "", "CHANGES.md": "1.1\nx is 2\n\n1.0\nFirst\n"},
}


def packed(name: str, version: str, folder: Path) -> Path:
    """As an index would hand it over."""
    folder.mkdir()
    path = folder / f"{name}-{version}.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        files = {**RELEASES[version], f"{name}.egg-info/SOURCES.txt": "a.py"}
        for place, text in files.items():
            info = tarfile.TarInfo(f"{name}-{version}/{place}")
            info.size, info.mtime = len(text), 1_700_000_000 + int(version[-1]) * 86_400
            archive.addfile(info, io.BytesIO(text.encode()))
    return path


def test_each_release_is_a_commit(tmp_path, monkeypatch):
    monkeypatch.setattr(sdists, "download", packed)
    for folder in ("one", "two"):
        sdists.history_of("words", list(RELEASES), tmp_path / folder)
    repository = Repository(tmp_path / "one")
    assert repository.resolve("HEAD") == Repository(tmp_path / "two").resolve("HEAD")
    commits = repository.commits("HEAD")
    assert [commit.message for commit in commits] == [
        "words 1.2 behaves otherwise in b.py",
        "1.1\nx is 2",
        "words 1.0 behaves otherwise in a.py, test_a.py",
    ]
    assert [commit.seconds for commit in commits] == [1_700_172_800, 1_700_086_400, 1_700_000_000]
    assert set(repository.tree("HEAD")) == {"a.py", "b.py", "CHANGES.md"}


def test_what_is_not_named_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr("sys.argv", ["sdists.py", str(tmp_path), "no-such"])
    with pytest.raises(SystemExit, match="no-such: no versions are named here"):
        sdists.main()
