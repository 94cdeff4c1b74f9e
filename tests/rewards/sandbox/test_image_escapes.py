"""What hostile programs try on images: other sessions' files, the store, and layers that are bad.

Each attempt is a program inside; the machine outside, the layers and the other sessions must be as
they were. What `layer_of` would refuse is planted in the store by hand here, as if it had not.
"""

from __future__ import annotations

import os
import platform
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from munro.rewards.sandbox import Image, Layer, Limit, Limits, Outcome, Sandbox, layer_of
from tests.rewards.sandbox.hosts import fingerprint, host
from tests.rewards.sandbox.sweep import ATTEMPTS, sweep
from tests.rewards.sandbox.test_image import listing
from tests.rewards.sandbox.test_namespaces import IS_ROOT, opened

MARK = "munro-layer-secret"
LIMITS = Limits(cpu_s=60, wall_s=120, memory_mb=256, processes=64, disk_mb=32)
as_root = pytest.mark.skipif(not IS_ROOT, reason="only root can plant this")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("escapes") / "store"


@pytest.fixture(scope="module")
def box(store: Path) -> Iterator[Sandbox]:
    with opened(store=store) as box:
        yield box


def planted(store: Path, plant) -> Layer:
    """A layer as a fault of ours, or another program of the host, might leave it."""
    layer = layer_of({"a": "1", "name": f"{plant}"}, store)
    plant(layer.path)
    return layer


def python(box: Sandbox, image: Image | None, source: str, **options) -> str:
    with box.session(image=image, limits=LIMITS, **options) as session:
        done = session.run(["python3", "-c", source])
    assert done.limit is None, done
    return (done.stdout + done.stderr).decode(errors="replace")


WRITE_THROUGH = """
import os
def attempt(path):
    for flags in (os.O_WRONLY | os.O_TRUNC, os.O_RDWR, os.O_WRONLY | os.O_APPEND):
        try:
            file = os.open(path, flags)
            os.write(file, b"overwritten")
            os.close(file)
        except OSError:
            pass
os.symlink("/tmp/work/a", "to-a"); attempt("to-a")
os.link("a", "hard"); attempt("hard")
os.link("deep/b", "hard-b"); os.chmod("hard-b", 0o777); attempt("hard-b")
os.rename("deep/b", "moved"); attempt("moved")
for number in range(3, 64): attempt(f"/proc/self/fd/{number}")
file = os.open("kept", os.O_RDONLY)
attempt(f"/proc/self/fd/{file}")
for target in ("/tmp/store", "/proc/1/root/tmp/store", "/proc/1/cwd", "/proc/self/root/tmp/store"):
    attempt(target + "/x")
os.utime("deep/c"); os.chmod("deep/c", 0)
try: os.setxattr("deep/c", "user.x", b"1")
except OSError: pass
import mmap
with open("deep/d", "r+b") as stream:
    memory = mmap.mmap(stream.fileno(), 0)
    memory[:1] = b"X"; memory.flush()
print("tried")
"""


def test_nothing_writes_through_to_a_layer(box: Sandbox, store: Path) -> None:
    files = {"a": "1", "deep/b": "2", "deep/c": "3", "deep/d": "4", "kept": "5"}
    layer = layer_of(files, store)
    before, times = listing(layer.path), {p: p.lstat().st_mtime_ns for p in layer.path.rglob("*")}
    assert python(box, Image(layers=(layer,)), WRITE_THROUGH) == "tried\n"
    assert listing(layer.path) == before
    assert {path: path.lstat().st_mtime_ns for path in times} == times


FIND = f"""
import os
found = []
def look(path, depth=0):
    try:
        if os.path.isdir(path):
            for name in os.listdir(path):
                if depth < 6: look(path + "/" + name, depth + 1)
        elif os.path.isfile(path):
            with open(path, "rb") as file:
                if b"{MARK[:8]}" + b"{MARK[8:]}" in file.read(1 << 16): found.append(path)
    except OSError:
        pass
tops = ["/tmp", "/opt/image", "/dev", "/proc/self/root/tmp", "/proc/1/root", "/proc/1/cwd",
        "/proc/1/fd", "/proc/self/fd", "/proc/self/cwd/..", "/proc/thread-self/root/tmp"]
for number in range(64):
    tops.append(f"/proc/self/fd/{{number}}"); tops.append(f"/dev/fd/{{number}}/..")
for top in tops:
    look(top)
for line in open("/proc/self/mountinfo"):
    for path in line.split()[3:5]:
        if path != "/" and not path.startswith(("/usr", "/proc", "/opt/python")): look(path)
print(sorted(set(found)))
"""


def test_no_session_reads_what_another_has_or_what_else_is_in_the_store(
    box: Sandbox, store: Path
) -> None:
    secret = layer_of({"secret": MARK}, store)
    with box.session(image=Image(layers=(secret,)), limits=LIMITS) as other:
        assert other.run(["sh", "-c", f"echo {MARK} > mine; echo {MARK} > /tmp/other"]).is_ok
        assert other.freeze().path.is_dir()
        for image in (Image(), Image(layers=(layer_of({"b": "1"}, store),)), None):
            assert python(box, image, FIND) == "[]\n"
        # the search finds what is there to be found
        assert python(box, Image(layers=(secret,)), FIND) != "[]\n"


UPPER = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
got = []
for source, target, kind, flags in (
    (b"none", b"/tmp", b"tmpfs", 0), (b"/tmp", b"/tmp/work", b"", 4096),
    (b"x", b"/tmp/work", b"overlay", 0), (b"none", b"/", b"", 32 | 4096),
):
    if libc.mount(source, target, kind, flags, None) == 0: got.append(target)
for target in (b"/tmp/work", b"/tmp", b"/opt/image/0", b"/opt/image", b"/usr", b"/proc"):
    if libc.umount2(target, 2) == 0: got.append(target)
for change in (lambda: os.rmdir("/tmp/work"), lambda: os.rename("/tmp/work", "/tmp/x")):
    try:
        change(); got.append(change)
    except OSError:
        pass
for change in (
    lambda: os.mknod("white", 0o020000, 0), lambda: os.mknod("null", 0o020666, os.makedev(1, 3)),
    lambda: os.setxattr("d", "trusted.overlay.opaque", b"y"),
):
    try:
        change(); got.append(change)
    except OSError:
        pass
for name in ("opaque", "redirect", "whiteout", "metacopy"):
    try: os.setxattr("d", "user.overlay." + name, b"y")
    except OSError: pass
print(got)
"""


def test_no_program_takes_the_mounts_away_or_writes_what_overlays_heed(
    box: Sandbox, store: Path
) -> None:
    base, packages = layer_of({"d/e": "1"}, store), layer_of({"p.py": ""}, store)
    image = Image(layers=(base,), packages=(packages,))
    with box.session(image=image, limits=LIMITS) as session:
        assert session.run(["python3", "-c", UPPER]).stdout == b"[]\n"
        # a newer kernel lets it write such attributes, under another name than the one it heeds
        assert not any(change.hides_below for change in session.changes())
        layer = session.freeze()
    with box.session(image=image.over(layer), limits=LIMITS) as fork:
        assert fork.run(["cat", "d/e"]).stdout == b"1"


@as_root
def test_a_device_in_a_layer_opens_for_nobody(box: Sandbox, store: Path) -> None:
    def plant(top: Path) -> None:
        for name, kind, numbers in (("null", stat.S_IFCHR, (1, 3)), ("disk", stat.S_IFBLK, (7, 0))):
            os.mknod(top / name, kind | 0o666, os.makedev(*numbers))
            os.chown(top / name, 65534, 65534)

    look = (
        "for name in ('null', 'disk'):\n"
        "    for mode in ('rb', 'wb'):\n"
        "        try: open(name, mode); print('opened', name)\n"
        "        except OSError as error: print(error.errno)\n"
    )
    image = Image(layers=(planted(store, plant),))
    assert python(box, image, look) == "13\n13\n13\n13\n"
    with box.session(image=image, limits=LIMITS) as session:
        session.run(["sh", "-c", "chmod 600 null; ln null other; mv disk disk2"])
        kinds = {str(change.kind) for change in session.changes()}
        assert kinds <= {"other", "deleted"}
        assert not [each for each in session.freeze().path.iterdir() if each.is_block_device()]


@as_root
def test_a_program_that_is_to_run_as_its_owner_does_not(box: Sandbox, store: Path) -> None:
    def plant(top: Path) -> None:
        (top / "id").write_bytes(Path("/usr/bin/id").read_bytes())
        os.chown(top / "id", 0, 0)
        (top / "id").chmod(0o6755)

    image = Image(layers=(planted(store, plant),))
    with box.session(image=image, limits=LIMITS) as session:
        done = session.run(["sh", "-c", "./id -u; ./id -ru"])
        assert done.stdout == b"65534\n65534\n", done
        session.run(["sh", "-c", "cp id own; chmod 6755 own"])
        layer = session.freeze()
    assert stat.S_IMODE((layer.path / "own").stat().st_mode) == 0o755
    assert (layer.path / "own").stat().st_uid == 65534


def test_strange_names_go_into_layers_and_out_again(box: Sandbox) -> None:
    make = (
        "import os\n"
        "for name in (b'new\\nline', b'\\xff\\xfe', b' ', b'-rf', b':', b'a:b,c=d\\\\',\n"
        "             b'\\xed\\xa0\\x80'):\n"
        "    os.mkdir(name); open(name + b'/' + name, 'wb').write(name)\n"
        "print(sorted(os.listdir(b'.')))"
    )
    look = (
        "import os\nprint(sorted(name for name in os.listdir(b'.')\n"
        "      if open(name + b'/' + name, 'rb').read() == name))"
    )
    with box.session(image=Image(), limits=LIMITS) as session:
        names = session.run(["python3", "-c", make]).stdout
        paths = {os.fsencode(change.path) for change in session.changes()}
        layer = session.freeze()
    assert names.count(b"b'") == 7
    assert {b"new\nline", b"new\nline/new\nline", b"\xff\xfe/\xff\xfe", b"\xed\xa0\x80"} <= paths
    assert python(box, Image(layers=(layer,)), look).encode() == names


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_hundred_thousand_files_below_and_above(box: Sandbox, store: Path) -> None:
    files = {f"{n % 100}/{n}": "" for n in range(100_000)}
    image = Image(layers=(layer_of(files, store),))
    roomy = Limits(cpu_s=120, wall_s=240, memory_mb=512, disk_mb=128, inodes=210_000)
    count = "find . -type f | wc -l"
    with box.session(image=image, limits=LIMITS) as session:
        assert session.run(["sh", "-c", count]).stdout.strip() == b"100000"
        assert session.changes() == []
        many = "for n in range(100_000): open(f'new{n}', 'w')"
        assert session.run(["python3", "-c", many]).limit is Limit.INODES
    with box.session(image=image, limits=roomy) as session:
        assert session.run(["python3", "-c", many]).is_ok
        assert len(session.changes(0)) == 100_000
        layer = session.freeze()
    with box.session(image=image.over(layer), limits=LIMITS) as fork:
        assert fork.run(["sh", "-c", count]).stdout.strip() == b"200000"


def test_what_does_not_fit_when_it_is_copied_up_is_an_error_and_nothing_is_lost(
    box: Sandbox, store: Path
) -> None:
    image = Image(layers=(layer_of({"big": b"x" * (5 << 20), "small": "1"}, store),))
    with box.session(image=image, limits=Limits(wall_s=60, disk_mb=2)) as session:
        done = session.run(["sh", "-c", "echo more >> big"])
        assert not done.is_ok
        assert done.limit is Limit.DISK
        look = session.run(["sh", "-c", "wc -c < big; echo 2 > small; cat small"])
        assert look.stdout == b"5242880\n2\n"
        assert [change.path for change in session.changes()] == ["small"]


@as_root
def test_a_store_on_a_full_disk_freezes_nothing_and_keeps_nothing(tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "small", str(tmp_path)], check=True)
    try:
        with (
            opened(store=tmp_path / "store") as box,
            box.session(image=Image(), limits=LIMITS) as session,
        ):
            assert session.run(["sh", "-c", "head -c 4000000 /dev/urandom > big"]).is_ok
            with pytest.raises(OSError, match="No space left"):
                session.freeze()
            assert os.listdir(tmp_path / "store") == []
            assert session.run(["sh", "-c", "wc -c < big"]).stdout == b"4000000\n"
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def test_folders_too_deep_are_named_and_not_walked(box: Sandbox) -> None:
    make = "import os\nfor _ in range(3000):\n    os.mkdir('d'); os.chdir('d')\n"
    with box.session(image=Image(), limits=LIMITS) as session:
        assert session.run(["python3", "-c", make]).is_ok
        last = session.changes()[-1]
        assert (str(last.kind), last.path.count("/")) == ("other", 255)
        with pytest.raises(ValueError, match="more than 256 folders in each other"):
            session.freeze()
        assert session.run(["sh", "-c", "ls"]).stdout == b"d\n"


ITS_OWN = {"changed process", "writable system"}
"""What a program finds whose root is its own: it begins in /, and /etc is the session's copy."""


class InSessions:
    """Each attempt in a session of its own, with an image and a network of itself."""

    def __init__(self, box: Sandbox, image: Image, *, keeps: bool) -> None:
        self._box, self._image, self._keeps = box, image, keeps

    def run(self, command, *, files, want, limits) -> Outcome:
        with self._box.session(
            image=self._image, limits=limits, loopback=True, keep_processes=self._keeps
        ) as session:
            return session.run(command, files=files, want=want)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the attempts name calls by number")
@pytest.mark.parametrize("is_root", [False, True], ids=["image", "root"])
@pytest.mark.parametrize("keeps", [False, True], ids=["ends processes", "keeps processes"])
def test_no_attempt_of_the_table_gets_out_of_a_session_over_an_image(
    keeps, is_root, tmp_path
) -> None:
    store = tmp_path / "store"
    image = Image(
        layers=(layer_of({"a": "1"}, store),),
        packages=(layer_of({"p.py": ""}, store),),
        is_root=is_root,
    )
    with host() as outside:
        before = fingerprint(outside)
        with opened(store=store) as box:
            found = sweep(ATTEMPTS, InSessions(box, image, keeps=keeps), outside, cold=True)
        after = fingerprint(outside)
    assert set(found) == (ITS_OWN if is_root else set())
    assert {name for name in before if before[name] != after[name]} == set()
