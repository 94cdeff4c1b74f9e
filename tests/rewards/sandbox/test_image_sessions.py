"""Sessions that stand on images: what they see, what they may not see, and what stays as it was."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from munro.rewards import sandbox
from munro.rewards.errors import SandboxError
from munro.rewards.sandbox import Image, Limits, Sandbox, layer_of
from munro.rewards.sandbox.image import forget_layer
from tests.rewards.sandbox.both import BACKENDS, only_namespaces, opened_as
from tests.rewards.sandbox.test_image import listing
from tests.rewards.sandbox.test_namespaces import ROOMY, opened

ROOT = Path(__file__).parents[3]
BASE = {
    "a": "old\n",
    "d/x": "1",
    "d/y": "2",
    "e/f/g": "3",
    "run": "#!/bin/sh\necho ran\n",
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("images") / "store"


@pytest.fixture(scope="module", params=BACKENDS)
def box(
    request: pytest.FixtureRequest, store: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Sandbox]:
    folder = tmp_path_factory.mktemp("engine")
    with opened_as(request.param, ROOMY, folder, store=store) as box:
        yield box


@pytest.fixture
def namespaces(request: pytest.FixtureRequest) -> None:
    """Of that back end alone: a container has it otherwise, or not at all."""
    only_namespaces(request)


@pytest.fixture
def base(store: Path) -> Image:
    return Image(layers=(layer_of(BASE, store),))


def said(session: sandbox.Session, script: str, **options) -> str:
    done = session.run(["sh", "-c", script], **options)
    assert done.is_ok, done
    return done.stdout.decode()


def test_a_session_sees_its_image_and_changes_only_its_own(box: Sandbox, base: Image) -> None:
    before = listing(base.layers[0].path)
    script = (
        "cat a; ./run; echo new >> a; rm d/x; rm -r e; echo file > e; rm -r d; mkdir d; touch d/z;"
        "chmod 600 a; ln -s a link; mv run ran; ls d; cat a e"
    )
    with box.session(image=base) as session, box.session(image=base) as other:
        assert said(session, script) == "old\nran\nz\nold\nnew\nfile\n"
        assert said(session, "cat link; ls") == "old\nnew\na\nd\ne\nlink\nran\n"
        assert said(other, "cat a d/x e/f/g; ls") == "old\n13a\nd\ne\nrun\n"
    assert listing(base.layers[0].path) == before


def test_upper_layers_are_over_lower_ones(box: Sandbox, base: Image, store: Path) -> None:
    image = base.over(layer_of({"a": "second\n", "b": "2"}, store), layer_of({"b": "3"}, store))
    with box.session(image=image, files={"c": "4"}) as session:
        assert said(session, "cat a b c d/x") == "second\n341"


def test_a_layer_may_come_twice(box: Sandbox, base: Image, store: Path) -> None:
    other = layer_of({"a": "other\n", "b": "2"}, store)
    with box.session(image=base.over(other, *base.layers)) as session:
        assert said(session, "cat a b d/x") == "old\n21"
        same = session.freeze()
        with box.session(image=base.over(same, same)) as fork:
            assert said(fork, "cat a d/x") == "old\n1"


def test_a_layer_of_nothing_stays_the_same_folder(box: Sandbox, base: Image) -> None:
    with box.session(image=base) as session:
        nothing = session.freeze()
    with box.session(image=base.over(nothing)) as session:
        before = nothing.path.stat().st_ino
        assert session.freeze() == nothing
        assert nothing.path.stat().st_ino == before
        assert said(session, "cat a") == "old\n"


def test_a_layer_with_salt_is_nobody_elses(box: Sandbox, base: Image) -> None:
    with box.session(image=base) as session:
        said(session, "echo 1 > new")
        plain, mine = session.freeze(), session.freeze("mine")
        assert len({plain, mine, session.freeze("yours"), session.freeze("mine")}) == 3
    forget_layer(mine)
    assert plain.path.is_dir()
    assert not mine.path.exists()


def test_a_layer_in_use_is_not_forgotten(box: Sandbox, base: Image) -> None:
    with box.session(image=base) as session:
        said(session, "echo 1 > new")
        layer = session.freeze("mine")
    with box.session(image=base.over(layer)) as session:
        forget_layer(layer)
        assert said(session, "cat new") == "1\n"
    forget_layer(layer)
    assert not layer.path.exists()


def test_a_layer_made_after_the_sandbox_was_opened_works(box: Sandbox, store: Path) -> None:
    layer = layer_of({"fresh": str(os.urandom(8))}, store)
    with box.session(image=Image(layers=(layer,))) as session:
        assert said(session, "ls") == "fresh\n"


def test_an_image_of_nothing_is_an_empty_folder(box: Sandbox) -> None:
    with box.session(image=Image()) as session:
        assert said(session, "ls -A; echo 1 > x; cat x; ls -A /tmp") == "1\nwork\n"


@pytest.mark.usefixtures("namespaces")
def test_as_many_layers_as_an_image_may_have(box: Sandbox, store: Path) -> None:
    layers = tuple(layer_of({f"k{i}": str(i)}, store) for i in range(sandbox.image.MOST_LAYERS))
    with box.session(image=Image(layers=layers)) as session:
        assert said(session, "ls | wc -l").strip() == str(len(layers))
    with (
        pytest.raises(ValueError, match="129 layers: 128 is the most"),
        box.session(image=Image(layers=(*layers, layers[0]))),
    ):
        pass


def test_packages_are_on_the_path_of_python_and_of_programs(box: Sandbox, store: Path) -> None:
    tool = {"bin/tool": "#!/bin/sh\necho tool\n", "cairn.py": "HEIGHT = 3\n"}
    first, second = layer_of(tool, store), layer_of({"cairn.py": "HEIGHT = 4\n"}, store)
    look = "import cairn; print(cairn.HEIGHT)"
    with box.session(image=Image(packages=(first, second))) as session:
        assert session.run(["python3", "-c", look]).stdout == b"3\n"
        assert said(session, "tool; ls -A") == "tool\n"
        for place in ("/opt/image", "/tmp/packages"):
            assert not session.run(["sh", "-c", f"echo > {place}/0/x"]).is_ok
            assert not session.run(["sh", "-c", f"mkdir {place}/9"]).is_ok
    assert not box.run(["python3", "-c", look]).is_ok


HOST_PACKAGES = (
    "import os, sys\n"
    "tops = ['/usr/lib', '/usr/local/lib', *(p for p in sys.path if 'packages' in p)]\n"
    "found = [f'{here}/{name}' for top in tops for here, folders, files in os.walk(top)\n"
    "         if here.endswith(('/site-packages', '/dist-packages'))\n"
    "         and '/node_modules/' not in here for name in folders + files]\n"
    "print(len(found), found[:3])\n"
)


@pytest.mark.usefixtures("namespaces")
def test_the_hosts_own_packages_are_not_to_be_seen(box: Sandbox) -> None:
    look = ["python3", "-c", HOST_PACKAGES]
    assert box.run(look).stdout == b"0 []\n"
    assert box.run_python(HOST_PACKAGES).stdout == b"0 []\n"
    with box.session() as plain, box.session(image=Image()) as bare:
        assert plain.run(look).stdout == bare.run(look).stdout == b"0 []\n"


@pytest.mark.usefixtures("namespaces")
def test_the_hosts_own_packages_are_there_for_an_image_that_shows_them(box: Sandbox) -> None:
    with box.session(image=Image(shows_host_packages=True)) as session:
        found = session.run(["python3", "-c", HOST_PACKAGES])
    if not sandbox.plan.host_packages(Path(os.path.realpath(os.sys.base_prefix))):
        pytest.skip("the host has none")
    assert not found.stdout.startswith(b"0 "), found


@pytest.mark.usefixtures("namespaces")
def test_the_store_is_nowhere_inside(box: Sandbox, base: Image) -> None:
    digest = base.layers[0].digest
    script = (
        f"ls -d /tmp/store /tmp/shown /tmp/upper /tmp/index /tmp/tmp 2>/dev/null; ls -A /tmp;"
        f"find / -xdev -name '{digest[:20]}*' -not -path '/proc/*' 2>/dev/null"
    )
    for image in (None, base):
        with box.session(image=image) as session:
            session.run(["true"])
            done = session.run(["sh", "-c", script])
            assert done.stdout == b"work\n"


def test_an_image_whose_layer_is_gone_is_one_clear_line(box: Sandbox, store: Path) -> None:
    layer = layer_of({"short": "lived"}, store)
    shutil.rmtree(layer.path)
    with (
        pytest.raises(SandboxError, match=f"layer {layer.digest[:12]} is not in {store}: build"),
        box.session(image=Image(layers=(layer,))),
    ):
        pass


def test_a_layer_of_another_store_is_one_clear_line(box: Sandbox, tmp_path: Path) -> None:
    layer = layer_of({"a": "b"}, tmp_path)
    with (
        pytest.raises(ValueError, match="is not in the store"),
        box.session(image=Image(layers=(layer,))),
    ):
        pass


def test_an_image_without_a_store_is_one_clear_line(base: Image) -> None:
    with (
        opened() as box,
        pytest.raises(ValueError, match="open the sandbox with store="),
        box.session(image=base),
    ):
        pass


@pytest.mark.usefixtures("namespaces")
def test_changes_are_data_and_nothing_is_followed(box: Sandbox, base: Image) -> None:
    script = (
        "echo new >> a; rm -r d; mkdir d; touch d/z; rm -r e; ln -s /etc/passwd e; mkfifo pipe;"
        "rm run; mkfifo run; chmod 0 a; truncate -s 1T huge; mkdir shut; echo 1 > shut/x;"
        "chmod 0 shut"
    )
    with box.session(image=base) as session:
        said(session, script)
        found = {change.path: change for change in session.changes(most_bytes=1 << 20)}
        assert said(session, "stat -c %a a shut") == "0\n0\n"
    kinds = {path: str(change.kind) for path, change in found.items()}
    assert kinds == {
        "a": "file", "d": "folder", "d/z": "file", "e": "link", "pipe": "other", "run": "other",
        "huge": "file", "shut": "folder", "shut/x": "file",
    }  # fmt: skip
    assert (found["a"].contents, found["a"].mode) == (b"old\nnew\n", 0)
    assert found["d"].hides_below
    assert found["e"].target == "/etc/passwd"
    assert (found["huge"].contents, found["huge"].size) == (None, 1 << 40)
    assert found["shut/x"].contents == b"1\n"


def test_changes_make_of_the_image_what_is_there(box: Sandbox, base: Image) -> None:
    script = (
        "echo new >> a; rm -r d; mkdir d; touch d/z; rm -r e; ln -s /etc/passwd e; rm run;"
        "mkdir run; echo 1 > run/x; echo 2 > b; chmod 600 b"
    )
    known: dict[str, object] = dict(BASE)
    with box.session(image=base) as session:
        assert session.changes() == []
        said(session, script)
        for change in session.changes():
            if change.kind in ("deleted", "file", "link", "other") or change.hides_below:
                below = f"{change.path}/"
                known = {p: c for p, c in known.items() if not f"{p}/".startswith(below)}
            if change.kind == "file":
                known[change.path] = (change.contents or b"").decode()
            elif change.kind == "link":
                known[change.path] = change.target
        modes = {change.path: change.mode for change in session.changes()}
    assert known == {
        "a": "old\nnew\n", "b": "2\n", "d/z": "", "e": "/etc/passwd", "run/x": "1\n"
    }  # fmt: skip
    assert modes["b"] == 0o600


def test_files_are_looked_at_and_written_from_outside(box: Sandbox, base: Image) -> None:
    with box.session(image=base) as session:
        found = session.look("run")
        assert found is not None
        assert (str(found.kind), found.mode, found.contents) == (
            "file",
            0o755,
            BASE["run"].encode(),
        )
        assert session.look("none") is None
        assert session.write("run", "#!/bin/sh\necho other\n") == ""
        assert session.write("new/deep", b"1") == ""
        said(session, "ln -s a link; ln -s d to; mkfifo pipe")
        for path in ("link", "d", "pipe", "a/x", "to/x"):
            assert session.write(path, "x") != ""
        kinds = {path: str(session.look(path).kind) for path in ("link", "pipe", "d", "to/x")}
        assert kinds == {"link": "link", "pipe": "other", "d": "folder", "to/x": "other"}
        assert session.look("a", most_bytes=2).contents == b"ol"
        assert session.look(".").names[:3] == ("a", "d/", "d/x")
        assert session.write("e/f/g", None) == ""
        assert said(session, "./run; cat new/deep a; ls e/f") == "other\n1old\n"
        with pytest.raises(ValueError, match="leads out of the working directory"):
            session.look("../x")


@pytest.mark.usefixtures("namespaces")
def test_deletions_are_changes(box: Sandbox, base: Image) -> None:
    with box.session(image=base) as session:
        assert session.changes() == []
        said(session, "rm a d/x")
        kinds = {change.path: str(change.kind) for change in session.changes()}
    assert kinds == {"a": "deleted", "d": "folder", "d/x": "deleted"}


def test_a_fork_sees_what_the_parent_saw_and_changes_neither(box: Sandbox, base: Image) -> None:
    script = (
        "echo new >> a; rm -r d; mkdir d; touch d/z; rm -r e; ln -s /etc/passwd e; rm run;"
        "mkfifo run; chmod 0 a; mkdir shut; echo 1 > shut/x; chmod 0 shut"
    )
    look = "ls -AR .; stat -c '%n %a %F' * ; ls d"
    with box.session(image=base) as parent:
        said(parent, script)
        layer = parent.freeze()
        with box.session(image=base.over(layer)) as fork:
            seen = said(fork, "chmod 755 a shut; cat a shut/x; ls -A . d; readlink e")
            assert seen == "old\nnew\n1\n.:\na\nd\ne\nshut\n\nd:\nz\n/etc/passwd\n"
            said(fork, "rm -rf a d e; echo 1 > d")
        assert "run" in said(parent, look)
        assert "a 0 regular file" in said(parent, look)
        assert parent.freeze() == layer


def test_a_session_without_an_image_has_nothing_to_freeze(box: Sandbox) -> None:
    with box.session() as session, pytest.raises(ValueError, match="image=Image"):
        session.freeze()
    with (
        opened() as other,
        other.session(image=Image()) as session,
        pytest.raises(ValueError, match="open the sandbox with store="),
    ):
        session.freeze()


@pytest.mark.usefixtures("namespaces")
def test_what_does_not_fit_is_the_disk_limit(box: Sandbox, base: Image) -> None:
    small = Limits(cpu_s=20, wall_s=40, disk_mb=4, inodes=60)
    with box.session(image=base, limits=small) as session:
        big = session.run(["sh", "-c", "head -c 9000000 /dev/zero > big"])
        assert big.limit == sandbox.Limit.DISK
        assert said(session, "rm big; cat a") == "old\n"
        many = session.run(["sh", "-c", "for i in $(seq 100); do echo > n$i || exit 3; done"])
        assert many.limit == sandbox.Limit.INODES


USER = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from munro.rewards import sandbox
from munro.rewards.sandbox import Image, layer_of
store = Path(sys.argv[2])
base = Image(layers=(layer_of({"a": "old", "d/x": "1", "e/f": "2"}, store),))
with sandbox.open("namespaces", store=store) as box:
    with box.session(image=base) as one:
        script = "echo new >> a; rm -r d; mkdir d; rm e/f; mkdir s; echo 3 > s/x; chmod 0 s/x s a"
        assert one.run(["sh", "-c", script]).is_ok
        print(sorted((c.path, str(c.kind), c.contents) for c in one.changes()))
        layer = one.freeze()
    with box.session(image=base.over(layer)) as two:
        done = two.run(["sh", "-c", "chmod 755 a s; chmod 644 s/x; cat a s/x; ls d e; rm -r s"])
        print(done.stdout, done.stderr, layer.path.lstat().st_uid)
    with box.session(image=base) as three:
        print(three.run(["sh", "-c", "cat a; ls"]).stdout)
    with box.session(loopback=True, keep_processes=True) as four:
        serve = "import socket, time; s = socket.create_server(('127.0.0.1', 80)); time.sleep(99)"
        four.run(["sh", "-c", 'python3 -c "$0" > log 2>&1 &', serve.replace("80", "8000")])
        ask = (
            "import socket, time\\nfor _ in range(200):\\n"
            "    try: socket.create_connection(('127.0.0.1', 8000)); print('heard'); break\\n"
            "    except OSError: time.sleep(0.05)"
        )
        print(four.run(["python3", "-c", ask]).stdout)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.skipif(not Path("/usr/bin/python3").exists(), reason="needs a Python for everybody")
def test_an_ordinary_user_has_images_too() -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        shutil.copytree(ROOT / "rewards", folder / "munro" / "rewards")
        shutil.copy(ROOT / "src" / "munro" / "__init__.py", folder / "munro")
        (folder / "store").mkdir()
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o755)
        os.chown(folder / "store", 12345, 12345)
        done = subprocess.run(
            ["/usr/bin/python3", "-B", "-c", USER, str(folder), str(folder / "store")],
            user=12345, group=12345, extra_groups=[], cwd="/", capture_output=True, text=True,
        )  # fmt: skip
    finally:
        shutil.rmtree(folder)
    assert done.stderr == ""
    changes, fork, again, heard = done.stdout.splitlines()
    assert heard == r"b'heard\n'"
    assert changes == str(
        [
            ("a", "file", b"oldnew\n"), ("d", "folder", None), ("e", "folder", None),
            ("e/f", "deleted", None), ("s", "folder", None), ("s/x", "file", b"3\n"),
        ]
    )  # fmt: skip
    assert fork == r"b'oldnew\n3\nd:\n\ne:\n' b'' 12345"
    assert again == "b'olda\\nd\\ne\\n'"


@pytest.mark.usefixtures("namespaces")
def test_memory_of_a_command_is_counted_as_ever(box: Sandbox, base: Image) -> None:
    with box.session(image=base, limits=ROOMY) as session:
        done = session.run(["python3", "-c", "x = bytearray(b'1') * (1 << 30)"])
    assert done.limit is sandbox.Limit.MEMORY
