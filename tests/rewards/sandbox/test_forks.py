"""A fork of a frozen session sees just what its parent saw, whatever the parent did to its files.

The moves are drawn; what is seen is listed by a program inside, which looks at kinds, modes, bytes
and links. Neither the parent, nor the image, nor the layer may change by what the fork does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from munro.rewards.sandbox import Image, Limits, Sandbox, Session, layer_of
from tests.rewards.sandbox.both import BACKENDS, opened_as
from tests.rewards.sandbox.test_image import listing

LIMITS = Limits(cpu_s=60, wall_s=120, memory_mb=256)
NAMES = ("a", "b", "c", "new\nline")
LOWEST = {"a/a/a": "1", "a/b": "2", "b": "3", "c/a": "4", "c/b/c": "5", "new\nline/a": "6"}
MIDDLE = {"a/b": "7", "a/c/b": "8", "c/a": "9"}

paths = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map("/".join)
moves = st.one_of(
    st.tuples(st.just("write"), paths, st.text("xyz", max_size=4)),
    st.tuples(st.just("append"), paths, st.text("xyz", max_size=4)),
    st.tuples(st.just("remove"), paths),
    st.tuples(st.just("mkdir"), paths),
    st.tuples(st.just("link"), paths, paths),
    st.tuples(st.just("hard"), paths, paths),
    st.tuples(st.just("mode"), paths, st.sampled_from([0, 0o400, 0o600, 0o755, 0o1777])),
    st.tuples(st.just("move"), paths, paths),
    st.tuples(st.just("fifo"), paths),
    st.tuples(st.just("hole"), paths, st.sampled_from([0, 5000, 1 << 21])),
)

DO = """
import json, os, shutil, sys
for kind, path, *rest in json.loads(sys.stdin.read()):
    try:
        if kind in ("write", "append", "hole"):
            os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
            if os.path.exists(path) and not os.path.isfile(path):
                continue  # a FIFO, which nobody reads
            with open(path, "a" if kind == "append" else "w") as file:
                file.truncate(rest[0]) if kind == "hole" else file.write(rest[0])
        elif kind == "remove":
            is_folder = os.path.isdir(path) and not os.path.islink(path)
            shutil.rmtree(path) if is_folder else os.unlink(path)
        elif kind == "mkdir":
            os.makedirs(path)
        elif kind == "link":
            os.symlink(rest[0], path)
        elif kind == "hard":
            os.link(rest[0], path, follow_symlinks=False)
        elif kind == "mode":
            os.chmod(path, rest[0])
        elif kind == "move":
            shutil.move(path, rest[0])
        elif kind == "fifo":
            os.mkfifo(path)
    except (OSError, shutil.Error):
        pass
"""
"""What cannot be done is left: every list of moves is a program."""

LOOK = """
import hashlib, json, os, stat
found = {}
def look(here):
    for name in sorted(os.listdir(here)):
        path = os.path.join(here, name)
        status = os.lstat(path)
        mode, said = stat.S_IMODE(status.st_mode), None
        if stat.S_ISFIFO(status.st_mode):
            continue
        if stat.S_ISLNK(status.st_mode):
            mode, said = 0, os.readlink(path)
        elif stat.S_ISREG(status.st_mode):
            shut = not mode & 0o400
            if shut: os.chmod(path, mode | 0o400)
            with open(path, "rb") as file:
                said = [status.st_size, hashlib.sha256(file.read(1 << 20)).hexdigest()]
            if shut: os.chmod(path, mode)
        found[path] = [stat.S_IFMT(status.st_mode), mode, said]
        if stat.S_ISDIR(status.st_mode):
            if mode & 0o500 != 0o500: os.chmod(path, mode | 0o500)
            look(path)
            if mode & 0o500 != 0o500: os.chmod(path, mode)
look(".")
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("forks") / "store"


@pytest.fixture(scope="module", params=BACKENDS)
def box(
    request: pytest.FixtureRequest, store: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Sandbox]:
    folder = tmp_path_factory.mktemp("engine")
    with opened_as(request.param, LIMITS, folder, store=store) as box:
        yield box


def do(session: Session, steps: list[tuple[object, ...]]) -> None:
    done = session.run(["python3", "-c", DO], stdin=json.dumps(steps))
    assert done.is_ok, done


def seen(session: Session) -> dict[str, object]:
    done = session.run(["python3", "-c", LOOK])
    assert done.is_ok, done
    found: dict[str, object] = json.loads(done.stdout)
    return found


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(moves, max_size=12), st.lists(moves, max_size=6), st.lists(moves, max_size=6))
def test_a_fork_sees_what_its_parent_saw_and_changes_neither(
    box: Sandbox,
    store: Path,
    first: list[tuple[object, ...]],
    second: list[tuple[object, ...]],
    third: list[tuple[object, ...]],
) -> None:
    image = Image(layers=(layer_of(LOWEST, store), layer_of(MIDDLE, store)))
    before = [listing(layer.path) for layer in image.layers]
    with box.session(image=image, limits=LIMITS) as parent:
        do(parent, first)
        layer = parent.freeze()
        known = listing(layer.path)
        parents = seen(parent)
        child_image = image.over(layer)
        with box.session(image=child_image, limits=LIMITS) as child:
            assert seen(child) == parents
        with box.session(image=child_image, limits=LIMITS) as child:
            do(child, second)
            grandchild_image = child_image.over(child.freeze())
            childs = seen(child)
            with box.session(image=grandchild_image, limits=LIMITS) as grandchild:
                assert seen(grandchild) == childs
                do(grandchild, third)
            assert seen(child) == childs
        assert seen(parent) == parents
    assert listing(layer.path) == known
    assert [listing(each.path) for each in image.layers] == before
