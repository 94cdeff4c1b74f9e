"""What a session wrote over its image, as data: a list of changes, or a layer for other sessions.

Read by us, not by anything in there, from the folder that the overlay writes to: so it costs what
was changed, not what there is. `tree` says how a folder that a hostile program made is read.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from munro.rewards.sandbox import image as images
from munro.rewards.sandbox import tree
from munro.rewards.sandbox.image import Image, Layer
from munro.rewards.sandbox.tree import Kind, Node

MOST_BYTES = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One path below the working directory that is not as the image has it.

    Example:
        Change(path="src/stones.py", kind=Kind.FILE, mode=0o644, contents=b"HEIGHT = 4\\n")
    """

    path: str
    """Bytes that are no UTF-8 are half surrogates, as `os.fsdecode` has them."""
    kind: Kind
    """`Kind.OTHER` is what cannot be given: a FIFO, a socket, a device, folders too deep."""
    mode: int = 0
    """Permissions, with the bits for set-uid, set-gid and sticky."""
    contents: bytes | None = None
    """Of a file; None where it was over what was left of `most_bytes`."""
    target: str = ""
    """Of a link."""
    size: int = 0
    """Of a file, as it says: one with holes may say anything."""
    hides_below: bool = False
    """A folder in whose place the image had something else, or another folder: nothing that the
    image has below this path is there any more."""


def changes_of(upper: int, most_bytes: int = MOST_BYTES) -> list[Change]:
    """All that is in the open upper folder of an overlay, folders first.

    Args:
        most_bytes: of contents, all together; in order of path, what does not fit is left out.
    """
    found = []
    for node in tree.walk(upper):
        change = _change(node, most_bytes)
        most_bytes -= len(change.contents or b"")
        found.append(change)
    return found


def _change(node: Node, most_bytes: int) -> Change:
    path, mode = os.fsdecode(node.path), node.mode
    if node.kind is Kind.LINK:
        return Change(path=path, kind=node.kind, target=os.fsdecode(tree.target_of(node)))
    if node.kind is Kind.DELETED:
        return Change(path=path, kind=node.kind)
    if node.kind is not Kind.FILE:
        return Change(path=path, kind=node.kind, mode=mode, hides_below=node.is_opaque)
    size = node.status.st_size
    contents = _read(node, size) if size <= most_bytes else None
    return Change(path=path, kind=node.kind, mode=mode, contents=contents, size=size)


def _read(node: Node, size: int) -> bytes:
    file = tree.open_file(node)
    with open(file, "rb") as stream:
        return stream.read(size)


def layer_of_upper(upper: int, image: Image, store: Path, salt: str = "") -> Layer:
    """A layer that makes of `image` what the session sees now.

    What has no meaning without its processes (a FIFO, a socket) is not there.

    Raises:
        ValueError: folders are too deep for a layer.
        OSError: the disk is full.
    """

    def write(writer: tree.Writer) -> None:
        for node in tree.walk(upper):
            if node.kind is Kind.DELETED:
                writer.deleted(node.path)
            elif node.kind is not Kind.OTHER:
                images.copy_node(node, writer, is_opaque=node.is_opaque)
            elif stat.S_ISDIR(node.status.st_mode):
                raise ValueError(
                    f"what is to be frozen has more than {tree.MOST_DEEP} folders in each other"
                )
            elif is_there(image.layers, node.path):
                writer.deleted(node.path)

    return images.write_layer(store, write, salt)


def is_there(layers: Sequence[Layer], path: bytes) -> bool:
    """Whether an image of these layers, lowest first, has something at `path`."""
    *folders, name = path.split(b"/")
    for layer in reversed(layers):
        here = os.fsencode(layer.path)
        is_last = False
        for folder in folders:
            here += b"/" + folder
            status = _status(here)
            if status is None:
                break
            if not stat.S_ISDIR(status.st_mode):
                return False
            is_last = is_last or _is_opaque(here)
        else:
            status = _status(here + b"/" + name)
            if status is not None:
                return tree.kind_of(status) is not Kind.DELETED
        if is_last:
            return False
    return False


def _status(path: bytes) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _is_opaque(path: bytes) -> bool:
    try:
        return os.getxattr(path, tree.OPAQUE, follow_symlinks=False) == b"y"
    except OSError:
        return False
