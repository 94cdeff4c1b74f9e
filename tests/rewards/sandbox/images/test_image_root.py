"""Images that are the root of a box: what is written where, what stays the machine's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from munro.rewards import sandbox
from munro.rewards.errors import SandboxError
from munro.rewards.sandbox import Image, Kind, Sandbox, layer_of


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("layers")


@pytest.fixture(scope="module")
def box(store: Path) -> Iterator[Sandbox]:
    with sandbox.open("namespaces", store=store) as opened:
        yield opened


def root(store: Path, **files: str) -> Image:
    return Image(layers=(layer_of({"app/x": "1", **files}, store),), is_root=True)


def test_a_session_writes_wherever_the_system_has_nothing(box: Sandbox, store: Path) -> None:
    with box.session(image=root(store), files={"app/brought": "b"}) as session:
        script = (
            "cat /app/x; echo 2 > /app/y; mkdir /data; touch /z /opt/o /tmp/t; echo >> /etc/passwd"
        )
        done = session.run(["sh", "-c", f"pwd; {script}"], want=["app/y"])
        assert (done.stdout, done.stderr) == (b"/\n1", b"")
        assert done.files == {"app/y": b"2\n"}
        assert session.write("app/w", "w") == ""
        assert {change.path for change in session.changes()} == {
            "app", "app/brought", "app/w", "app/y", "data", "etc", "etc/passwd", "opt", "opt/o",
            "tmp", "tmp/t", "z",
        }  # fmt: skip
        layer = session.freeze()
    with box.session(image=root(store).over(layer)) as session:
        assert session.run(["cat", "/app/y", "/app/w"]).stdout == b"2\nw"
        found = session.look("data")
        assert found is not None
        assert found.kind is Kind.FOLDER
        assert session.look(".") is not None


def test_what_is_the_systems_is_read_only_and_in_its_place(box: Sandbox, store: Path) -> None:
    with box.session(image=root(store)) as session:
        for path in ("/usr/x", "/usr/local/bin/x", "/opt/python/x", "/opt/image/x", "/dev/x"):
            assert session.run(["touch", path]).status, path
        assert session.write("usr/x", "") == "Read-only file system"
        moved = session.run(["sh", "-c", "rm -rf /opt/* /dev; mv /usr /u || mv /proc /p"])
        assert moved.status
        session.run(["sh", "-c", "rm -rf /etc /tmp /opt; ln -s /app /etc"])
        layer = session.freeze()
    with box.session(image=root(store).over(layer)) as session:
        done = session.run(["python3", "-c", "print(6 * 7)"])
        assert done.stdout == b"42\n", done


def test_nothing_of_the_host_is_to_be_seen(box: Sandbox, store: Path) -> None:
    here = Path(__file__).resolve()
    with box.session(image=root(store)) as session:
        assert session.run(["cat", str(here)]).status
        mounts = session.run(["cat", "/proc/self/mountinfo"]).stdout.decode()
        points = {line.split()[4] for line in mounts.splitlines()}
        assert not any(point.startswith(("/tmp", "/etc")) for point in points)
        assert session.run(["mount", "-o", "remount,rw", "/usr"]).status
        assert session.run(["ls", "/proc/1/root/"]).status


def test_a_link_in_the_place_of_a_systems_folder_is_no_image(box: Sandbox, store: Path) -> None:
    with box.session(image=Image()) as session:
        session.run(["ln", "-s", "/etc", "usr"])
        layer = session.freeze()
    with (
        pytest.raises(SandboxError, match="a layer has a link in the place of a system's folder"),
        box.session(image=root(store).over(layer)),
    ):
        pass


def test_its_room_is_bounded(box: Sandbox, store: Path) -> None:
    limits = sandbox.Limits(disk_mb=8)
    with box.session(image=root(store), limits=limits) as session:
        done = session.run(["sh", "-c", "head -c 20000000 /dev/zero > /app/big"])
        assert done.status or done.limit is sandbox.Limit.DISK


def test_a_root_that_was_shut_is_opened_for_the_next_command(box: Sandbox, store: Path) -> None:
    with box.session(image=root(store)) as session:
        assert session.run(["chmod", "000", "/"]).is_ok
        assert session.run(["cat", "/app/x"]).stdout == b"1"
        shut = session.run(["python3", "-c", "import os, time; os.chmod('/', 0); time.sleep(0.2)"])
        assert shut.is_ok
        assert session.run(["true"]).is_ok
    with box.session(image=root(store), keep_processes=True) as session:
        session.run(["sh", "-c", "(sleep 0.3; chmod 000 /) & chmod 000 /"])
        assert [change.path for change in session.changes()] == []
        assert session.run(["cat", "/app/x"]).stdout == b"1"
