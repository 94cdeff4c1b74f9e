"""Sessions that write more than memory should hold: on disk, as much as they may, gone after."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from munro.rewards import sandbox
from munro.rewards.errors import SandboxError
from munro.rewards.sandbox import Image, Kind, Limit, Limits, Sandbox, disk, layer_of, namespaces
from tests.rewards.sandbox.test_namespaces import IS_ROOT

pytestmark = pytest.mark.skipif(
    not (IS_ROOT and os.path.exists("/dev/loop-control")), reason="needs root and loop devices"
)
LIMITS = Limits(cpu_s=60, wall_s=60, disk_mb=24, inodes=500, memory_mb=256)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def box(store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    for module in (disk, namespaces):
        monkeypatch.setattr(module, "ON_DISK_MB", 8)
    before = loops()
    with sandbox.open("namespaces", LIMITS, store=store) as opened:
        yield opened
    deadline = time.monotonic() + 5
    while loops() - before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not loops() - before, "a device was left"


def loops() -> set[str]:
    """Devices that have a file; the kernel lets one go soon after the last who used it."""
    return {path.parent.parent.name for path in Path("/sys/block").glob("loop*/loop/backing_file")}


@pytest.mark.parametrize("is_root", [False, True])
def test_it_is_as_in_memory(box: Sandbox, store: Path, is_root: bool) -> None:
    image = Image(layers=(layer_of({"a/old": "1", "a/gone": "2"}, store),), is_root=is_root)
    with box.session(image=image) as session:
        script = "cd a && cat old && echo new > old && rm gone && mkdir -p b/c && ln -s old link"
        done = session.run(["sh", "-c", f"{script}; head -c 12000000 /dev/zero > b/big"])
        assert (done.stdout, done.stderr, done.status) == (b"1", b"", 0)
        kinds = {change.path: change.kind for change in session.changes()}
        assert kinds["a/gone"] is Kind.DELETED
        layer = session.freeze()
    with box.session(image=image.over(layer)) as session:
        done = session.run(["sh", "-c", "cd a; cat link; ls b; wc -c < b/big"])
        assert done.stdout == b"new\nbig\nc\n12000000\n"
        assert session.look("a/gone") is None


def test_its_room_is_as_much_as_was_said(box: Sandbox, store: Path) -> None:
    image = Image(layers=(layer_of({"a": "1"}, store),))
    with box.session(image=image) as session:
        done = session.run(["sh", "-c", "head -c 40000000 /dev/zero > big; wc -c < big"])
        assert done.limit is Limit.DISK, done
        assert 24 << 20 <= int(done.stdout) <= 26 << 20
        held = (
            "import os\nfiles = []\nos.remove('big')\nfor i in range(40):\n"
            "    f = open('f', 'wb'); os.remove('f'); files.append(f)\n"
            "    f.write(bytes(4 << 20)); f.flush()\n"
        )
        done = session.run(["python3", "-c", held])
        assert b"No space left" in done.stderr
        many = session.run(["sh", "-c", "rm -f big; for i in $(seq 900); do : > f$i; done"])
        assert many.limit is Limit.INODES, many
        outside = session.run(["sh", "-c", "rm -f f*; head -c 20000000 /dev/zero > /tmp/big"])
        assert outside.status, "what is beside the working directory is in memory"


def test_without_root_it_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(SandboxError, match=r"disk_mb = 4096: .* which only root can have: ask"):
        disk.new_disk(tmp_path, 4096, 1000)
    monkeypatch.undo()
    monkeypatch.setattr(disk.shutil, "which", lambda *args, **options: None)
    with pytest.raises(SandboxError, match=r"needs mkfs.ext4: apt-get install e2fsprogs"):
        disk.new_disk(tmp_path, 4096, 1000)
