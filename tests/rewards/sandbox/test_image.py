"""Layers: the same content is the same folder, whoever makes it, and whoever dies making it."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from munro.rewards.errors import SandboxError
from munro.rewards.sandbox import Layer, image, layer_of
from munro.rewards.sandbox.image import find_layer

IS_ROOT = os.geteuid() == 0


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with one of everything that a layer may hold."""
    top = tmp_path / "checkout"
    (top / "src" / "deep").mkdir(parents=True)
    (top / "src" / "a.py").write_bytes(b"print(1)\n")
    (top / "src" / "deep" / "empty").write_bytes(b"")
    (top / "run").write_bytes(b"#!/bin/sh\n")
    (top / "run").chmod(0o750)
    os.link(top / "run", top / "again")
    (top / "out").symlink_to("/etc/passwd")
    (top / "gone").symlink_to("no/such/place")
    os.mkdir(os.fsencode(top) + b"/new\nline \xff")
    (top / "holes").touch()
    os.truncate(top / "holes", 3 << 20)
    return top


def listing(top: Path) -> dict[bytes, tuple[object, ...]]:
    """Kind, mode and content of everything below, by path."""
    found = {}
    for here, folders, files in os.walk(os.fsencode(top)):
        for name in (*folders, *files):
            path = here + b"/" + name
            status = os.lstat(path)
            content: bytes | None = None
            if stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            elif stat.S_ISREG(status.st_mode):
                content = Path(os.fsdecode(path)).read_bytes()
            found[os.path.relpath(path, os.fsencode(top))] = (status.st_mode, content)
    return found


def test_a_layer_is_a_copy_of_its_folder_and_named_by_it(store: Path, checkout: Path) -> None:
    layer = layer_of(checkout, store)
    assert layer.path == store / layer.digest
    assert listing(layer.path) == listing(checkout)
    assert (layer.path / "holes").stat().st_blocks == 0
    assert (layer.path / "run").stat().st_nlink == 2
    assert layer_of(checkout, store) == layer
    assert os.listdir(store) == [layer.digest]


def test_the_owner_is_the_user_of_the_sandbox(store: Path, checkout: Path) -> None:
    layer = layer_of(checkout, store)
    paths = [layer.path, *layer.path.rglob("*")]
    assert {path.lstat().st_uid for path in paths} == {65534 if IS_ROOT else os.geteuid()}


def test_times_stay_and_are_no_part_of_the_name(store: Path, checkout: Path) -> None:
    os.utime(checkout / "src" / "a.py", (1e9, 1e9))
    layer = layer_of(checkout, store)
    assert (layer.path / "src" / "a.py").stat().st_mtime == 1e9
    os.utime(checkout / "src" / "a.py", (2e9, 2e9))
    assert layer_of(checkout, store) == layer


@pytest.mark.parametrize(
    "change",
    [
        lambda top: (top / "src" / "a.py").write_bytes(b"print(2)\n"),
        lambda top: (top / "src" / "a.py").chmod(0o600),
        lambda top: (top / "src" / "a.py").rename(top / "src" / "b.py"),
        lambda top: (top / "out").unlink() or (top / "out").symlink_to("/etc/shadow"),
        lambda top: (top / "src" / "deep").chmod(0o700),
        lambda top: os.truncate(top / "holes", (3 << 20) + 1),
        lambda top: (top / "src" / "deep" / "empty").unlink(),
    ],
    ids=["bytes", "mode", "path", "target", "mode of a folder", "size", "one less"],
)
def test_any_other_content_is_another_layer(store: Path, checkout: Path, change) -> None:
    before = layer_of(checkout, store)
    change(checkout)
    after = layer_of(checkout, store)
    assert after.digest != before.digest
    assert listing(after.path) == listing(checkout)


def test_a_mapping_makes_the_layer_that_its_folder_makes(store: Path, tmp_path: Path) -> None:
    layer = layer_of({"a/b": "text \ud800", "run": "#!/bin/sh\n"}, store)
    for name, content, mode in (
        ("a/b", b"text \xed\xa0\x80", 0o644),
        ("run", b"#!/bin/sh\n", 0o755),
    ):
        path = tmp_path / "same" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(mode)
    assert layer_of(tmp_path / "same", store) == layer


def test_bits_that_would_run_it_as_its_owner_are_left_out(store: Path, checkout: Path) -> None:
    (checkout / "run").chmod(0o6755)
    layer = layer_of(checkout, store)
    assert stat.S_IMODE((layer.path / "run").stat().st_mode) == 0o755


def make_device(path: Path) -> None:
    if not IS_ROOT:
        pytest.skip("only root can make a device")
    os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (os.mkfifo, "a FIFO"),
        (make_socket, "a socket"),
        (make_device, "a device"),
        (lambda path: os.mknod(path, stat.S_IFCHR, 0), "a device"),
    ],
)
def test_what_no_layer_can_hold_is_named(store: Path, checkout: Path, make, words) -> None:
    make(checkout / "x")
    with pytest.raises(ValueError, match=f"'x' is {words}: a layer holds folders, files and links"):
        layer_of(checkout, store)
    assert os.listdir(store) == []


def test_a_folder_that_is_none_is_named(store: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no folder"):
        layer_of(tmp_path / "none", store)


@pytest.mark.parametrize("path", ["/etc/x", "../x", "a/../../x", "", ".", "a\0b", "a//b"])
def test_a_path_out_of_the_layer_is_refused(store: Path, path: str) -> None:
    with pytest.raises(ValueError, match="leads out of the layer"):
        layer_of({path: "x"}, store)


def test_a_file_that_is_a_folder_too_is_refused(store: Path) -> None:
    with pytest.raises(ValueError, match="is a file in the layer, and a folder too"):
        layer_of({"a": "x", "a/b": "y"}, store)


def test_a_layer_that_is_gone_is_one_clear_line(store: Path) -> None:
    layer = layer_of({"a": "x"}, store)
    assert find_layer(layer.digest, store) == layer
    with pytest.raises(SandboxError, match=f"layer {'0' * 12} is not in .*: build its image again"):
        find_layer("0" * 64, store)
    with pytest.raises(ValueError, match="no digest"):
        find_layer("../../etc", store)


def test_many_at_once_make_one_layer(store: Path, checkout: Path) -> None:
    with ThreadPoolExecutor(4) as threads:
        made = set(threads.map(lambda _: layer_of(checkout, store), range(12)))
    assert len(made) == 1
    assert os.listdir(store) == [made.pop().digest]


def fresh(store: Path) -> set[str]:
    """What is being made, or was when its maker died."""
    return {name for name in os.listdir(store) if name.startswith(image._NEW)}


MAKER = """
import sys
from pathlib import Path
from munro.rewards.sandbox import layer_of
while True:
    layer_of(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def test_killed_makers_leave_nothing_that_is_taken_for_a_layer(store: Path, tmp_path: Path) -> None:
    top = tmp_path / "many"
    for number in range(100):
        (top / f"{number % 7}").mkdir(parents=True, exist_ok=True)
        (top / f"{number % 7}" / f"{number}").write_bytes(os.urandom(3000))
    left = 0
    for turn in range(6):
        (top / "turn").write_text(str(turn))
        with subprocess.Popen([sys.executable, "-c", MAKER, str(top), str(store)]) as maker:
            seen = set(os.listdir(store)) if store.exists() else set()
            while not (store.exists() and fresh(store) - seen):
                assert maker.poll() is None, "it died by itself"
                time.sleep(0.0005)
            time.sleep(0.002 * turn)
            maker.send_signal(signal.SIGKILL)
        left += len(fresh(store))
    assert left, "none was killed while it made one: the test says nothing"
    whole = layer_of(top, store)
    assert listing(whole.path) == listing(top)
    for name in os.listdir(store):  # what they left has been swept; what they finished is whole
        again = layer_of(store / name, tmp_path / "other")
        assert again.digest == name


def test_what_a_living_maker_is_at_work_on_is_not_swept(store: Path) -> None:
    with image._new_folder(image.make_store(store)) as (path, _):
        layer_of({"a": "x"}, store)
        assert path.is_dir()
    assert not path.exists()


def test_a_full_disk_leaves_nothing(
    store: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="No space left"):
        layer_of(checkout, store)
    assert os.listdir(store) == []


def test_a_layer_is_a_value() -> None:
    layer = Layer(path=Path("/s/ab"), digest="ab")
    assert image.Image(layers=(layer,)).over(layer).layers == (layer, layer)
