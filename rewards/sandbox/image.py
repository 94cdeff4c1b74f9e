"""Folders as images: content-addressed layers, which a session sees one over the other.

    store/3f9a...   one layer: a folder, named by the digest of its paths, modes, bytes and links
    Image(layers=(base, fix), packages=(libraries,))

A layer is never changed once it is there, so many sessions stand on one at no cost: what a session
writes goes to its own file system in memory. The same content gives the same layer, whoever makes
it and how often; a process that is killed while it makes one leaves nothing that is taken for one.

Kept of each path: kind, permissions, bytes, the target of a link, the time of its last change (not
part of the digest). Not kept: owner, set-uid and set-gid bits, extended attributes.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from munro.rewards.errors import SandboxError
from munro.rewards.sandbox import owned, tree
from munro.rewards.sandbox.inside import syscalls, wire
from munro.rewards.sandbox.tree import Kind, Writer

NOBODY = 65534
MOST_LAYERS = 128
"""Of one image; the kernel takes their names in one page of text."""
SOME_TIME_NS = 946_684_800 * 10**9
"""When what is made of a mapping was last changed: 2000, for archives know no time before 1980."""
_NEW = ".new-"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A read-only folder in a store, named by the digest of its contents.

    Example:
        layer_of({"main.py": "print(6 * 7)"}, Path("/data/layers"))
    """

    path: Path
    digest: str
    """SHA-256 of paths, modes, bytes and links, in hexadecimal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """What a session finds when it begins.

    Example:
        Image(layers=(layer_of(Path("checkout"), store),), packages=(layer_of(wheels, store),))
    """

    layers: tuple[Layer, ...] = ()
    """Lowest first: together they are the working directory."""
    packages: tuple[Layer, ...] = ()
    """Folders that Python is to import from (`pip install --target`), read-only."""
    shows_host_packages: bool = False
    """Whether what the host's own Python has in its site-packages and dist-packages is seen."""
    is_root: bool = False
    """The layers are the root of the box, over the system's own folders, and so is the working
    directory: app/x is /app/x. The back end of namespaces alone has it."""

    @property
    def digests(self) -> list[str]:
        """Of the layers, lowest first, each once.

        Where one comes again, it is already over its lower self: an overlay takes none twice.
        """
        return list(dict.fromkeys(layer.digest for layer in reversed(self.layers)))[::-1]

    def over(self, *layers: Layer) -> Image:
        """The same with `layers` on top."""
        return replace(self, layers=(*self.layers, *layers))


def layer_of(source: Path | Mapping[str, bytes | str], store: Path) -> Layer:
    """A layer that holds a copy of `source`.

    Args:
        source: a folder, whose links are copied as links; or contents by path (text is UTF-8),
            which may be executed where they begin with `#!`.
        store: where layers are kept; made if it is not there.

    Raises:
        ValueError: `source` is no folder, or holds what no layer can: a device, a FIFO, a socket, a
            path that leads out of it or is too long.
        OSError: the disk is full.
    """
    if isinstance(source, Mapping):
        return write_layer(store, lambda writer: _write_mapping(writer, source))
    if not source.is_dir():
        raise ValueError(f"{str(source)!r} is no folder: a layer is made of one, or of a mapping")
    top = os.open(source, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return write_layer(store, lambda writer: _copy_tree(top, writer))
    finally:
        os.close(top)


def find_layer(digest: str, store: Path) -> Layer:
    """The layer of that name.

    Raises:
        ValueError: that is no name of a layer.
        SandboxError: there is none.
    """
    if len(digest) != 64 or set(digest) - set("0123456789abcdef"):
        raise ValueError(f"{digest[:80]!r} is no digest of a layer: 64 hexadecimal digits are")
    layer = Layer(path=store / digest, digest=digest)
    if not layer.path.is_dir():
        raise SandboxError(f"layer {digest[:12]} is not in {store}: build its image again")
    return layer


def check_image(image: Image, store: Path | None) -> None:
    """All of its layers are there.

    Raises:
        ValueError: they are of another store than the sandbox shows, or too many.
        SandboxError: one is gone.
    """
    layers = (*image.layers, *image.packages)
    if not layers:
        return
    if store is None:
        raise ValueError('an image has layers: open the sandbox with store="FOLDER OF LAYERS"')
    if len(layers) > MOST_LAYERS:
        raise ValueError(f"an image has {len(layers)} layers: {MOST_LAYERS} is the most")
    here = os.path.realpath(store)
    for layer in layers:
        if os.path.realpath(layer.path) != f"{here}/{layer.digest}":
            raise ValueError(f"layer {layer.path} is not in the store {store} of this sandbox")
        find_layer(layer.digest, store)


@contextmanager
def in_use(image: Image) -> Iterator[None]:
    """While this lasts, nobody forgets a layer of `image`.

    Raises:
        SandboxError: one is gone.
    """
    with ExitStack() as stack:
        for layer in dict.fromkeys((*image.layers, *image.packages)):
            try:
                folder = os.open(layer.path, _FOLDER)
                stack.callback(os.close, folder)
                fcntl.flock(folder, fcntl.LOCK_SH)
                is_there = layer.path.stat().st_ino == os.fstat(folder).st_ino
            except FileNotFoundError:
                is_there = False
            if not is_there:
                find_layer(layer.digest, layer.path.parent)
                raise SandboxError(f"layer {layer.digest[:12]} went away: build its image again")
        yield


def forget_layer(layer: Layer) -> bool:
    """Take a layer out of its store, unless a session stands on it; whether it is gone."""
    try:
        folder = os.open(layer.path, _FOLDER)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        gone = layer.path.with_name(f"{_NEW}{secrets.token_hex(8)}")
        with suppress(FileNotFoundError):  # somebody else was faster
            layer.path.rename(gone)  # at once, for a half of it must not be taken for a layer
            tree.remove(gone)
    except BlockingIOError:
        return False
    finally:
        os.close(folder)
    owned.unmark(layer.path.parent, layer.digest)
    return True


def open_store(store: Path) -> Path:
    """The folder, made if it is not there, without what processes that were killed have left in it:
    halves of layers, and layers that were theirs alone (`write_layer` with a salt)."""
    make_store(store)
    _sweep(store)
    owned.sweep(store, lambda name: forget_layer(Layer(path=store / name, digest=name)))
    return store


def write_layer(store: Path, write: Callable[[Writer], None], salt: str = "") -> Layer:
    """What `write` makes, under the name of its digest, and of `salt` where there is one.

    One with a salt is this process's, and is taken away after its end (`open_store`).
    """
    make_store(store)
    with _new_folder(store) as (path, folder):
        writer = Writer(folder, NOBODY if os.geteuid() == 0 else None, salt)
        write(writer)
        digest = writer.finish()
        layer = Layer(path=store / digest, digest=digest)
        if salt:
            owned.mark(store, digest)
        with suppress(FileExistsError):  # made before, or by somebody else meanwhile
            syscalls.rename_new(str(path), str(layer.path))
    return layer


def default_store() -> Path:
    """Of this user: `$XDG_CACHE_HOME/munro/layers`, or below `~/.cache`."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "munro" / "layers"


def make_store(store: Path) -> Path:
    """The folder, made if it is not there, and such that the sandbox's user may walk through it."""
    store.mkdir(parents=True, exist_ok=True)
    mode = stat.S_IMODE(store.stat().st_mode)
    if os.geteuid() == 0 and mode & 0o001 == 0:
        store.chmod(mode | 0o011)
    return store


@contextmanager
def _new_folder(store: Path) -> Iterator[tuple[Path, int]]:
    """One of our own below `store`: gone in the end, unless it has another name by then.

    It is locked for as long as we live, so that whoever comes later knows what was left behind.
    """
    _sweep(store)
    while True:
        path = store / f"{_NEW}{secrets.token_hex(8)}"
        path.mkdir(mode=0o700)
        try:
            folder = os.open(path, _FOLDER)
        except FileNotFoundError:
            continue  # swept before it was locked
        fcntl.flock(folder, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            if path.stat().st_ino == os.fstat(folder).st_ino:
                break
        os.close(folder)
    try:
        yield path, folder
    finally:
        if path.exists():
            tree.remove(path)
        os.close(folder)


def _sweep(store: Path) -> None:
    """Take away what makers of layers that were killed have left."""
    for path in store.glob(f"{_NEW}*"):
        try:
            folder = os.open(path, _FOLDER)
        except OSError:
            continue
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            tree.remove(path)
        except OSError:
            pass  # somebody is at work on it
        finally:
            os.close(folder)


def _copy_tree(top: int, writer: Writer) -> None:
    for node in tree.walk(top):
        if node.kind in (Kind.DELETED, Kind.OTHER):
            raise ValueError(
                f"{os.fsdecode(node.path)!r} is {_what(node.status)}: a layer holds folders, "
                "files and links"
            )
        copy_node(node, writer, is_opaque=False)


def copy_node(node: tree.Node, writer: Writer, *, is_opaque: bool) -> None:
    """A folder, a file or a link into a new layer."""
    if node.kind is Kind.FOLDER:
        writer.folder(node.path, node.mode, node.status.st_mtime_ns, is_opaque=is_opaque)
    elif node.kind is Kind.LINK:
        writer.link(node.path, tree.target_of(node))
    else:
        _copy_file(node, writer)


def _copy_file(node: tree.Node, writer: Writer) -> None:
    key = (node.status.st_dev, node.status.st_ino)
    has_names = node.status.st_nlink > 1
    if has_names and writer.again(node.path, key):
        return
    file = tree.open_file(node)
    try:
        size = os.fstat(file).st_size
        blocks = tree.blocks_of(file, size)
        writer.file(node.path, node.mode, node.status.st_mtime_ns, size, blocks)
    finally:
        os.close(file)
    if has_names:
        writer.remember(node.path, key)


def _what(status: os.stat_result) -> str:
    names = {
        stat.S_IFIFO: "a FIFO",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
        stat.S_IFDIR: f"more than {tree.MOST_DEEP} folders deep",
    }
    return names.get(stat.S_IFMT(status.st_mode), "of no known kind")


def _write_mapping(writer: Writer, files: Mapping[str, bytes | str]) -> None:
    folders: set[bytes] = set()
    for name in sorted(files):
        contents = wire.as_bytes(files[name])
        parts = wire.as_bytes(name).split(b"/")
        if {b"", b".", b".."} & set(parts) or b"\0" in wire.as_bytes(name):
            raise ValueError(f"{name!r} leads out of the layer: write a path below it")
        if len(parts) > tree.MOST_DEEP:
            raise ValueError(f"{name[:80]!r} is more than {tree.MOST_DEEP} folders deep")
        for depth in range(1, len(parts)):
            folder = b"/".join(parts[:depth])
            if folder not in folders:
                folders.add(folder)
                _add(name, lambda: writer.folder(folder, 0o755, SOME_TIME_NS, is_opaque=False))  # noqa: B023
        mode = 0o755 if contents.startswith(b"#!") else 0o644
        blocks = [
            (at, contents[at : at + tree.BLOCK]) for at in range(0, len(contents), tree.BLOCK)
        ]
        blocks = [(at, block) for at, block in blocks if block.count(0) != len(block)]
        _add(name, lambda: writer.file(b"/".join(parts), mode, SOME_TIME_NS, len(contents), blocks))  # noqa: B023


def _add(name: str, write: Callable[[], None]) -> None:
    try:
        write()
    except (FileExistsError, NotADirectoryError):
        raise ValueError(f"{name!r} is a file in the layer, and a folder too") from None
