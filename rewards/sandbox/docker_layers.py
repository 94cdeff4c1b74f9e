"""Images of layers without an overlay: what they hold together, and what has become of it.

A container gets a copy of the whole, so that here a session costs what its image holds, and a
layer of what it wrote is found by comparing all of it. What comes out is the same as with overlays.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from munro.rewards.sandbox import image as images
from munro.rewards.sandbox import tree
from munro.rewards.sandbox.freeze import Change
from munro.rewards.sandbox.image import Layer
from munro.rewards.sandbox.tree import BLOCK, Kind, Writer

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """What stands at one path.

    Example:
        Item(kind=Kind.FILE, mode=0o644, contents=b"1\\n")
    """

    kind: Kind
    mode: int = 0
    mtime_ns: int = 0
    contents: bytes | None = b""
    """Of a file; None where it is larger than was asked for."""
    target: bytes = b""
    """Of a link."""

    def is_as(self, other: Item) -> bool:
        """The same but for the time."""
        mine = (self.kind, self.mode, self.contents, self.target)
        return mine == (other.kind, other.mode, other.contents, other.target)


def merged(layers: Sequence[Layer]) -> dict[bytes, Item]:
    """What layers, lowest first, hold together, by path in order."""
    found: dict[bytes, Item] = {}
    for layer in layers:
        top = os.open(layer.path, _FOLDER)
        try:
            for node in tree.walk(top):
                below = found.get(node.path)
                both = below is not None and below.kind is Kind.FOLDER is node.kind
                if below is not None and (not both or node.is_opaque):
                    _remove(found, node.path)
                if node.kind is not Kind.DELETED:
                    found[node.path] = _item(node)
        finally:
            os.close(top)
    return dict(sorted(found.items(), key=lambda pair: pair[0].split(b"/")))


def _remove(found: dict[bytes, Item], path: bytes) -> None:
    for each in [path, *(other for other in found if other.startswith(path + b"/"))]:
        del found[each]


def _item(node: tree.Node) -> Item:
    contents, target = b"", b""
    if node.kind is Kind.FILE:
        with open(tree.open_file(node), "rb") as file:
            contents = file.read()
    elif node.kind is Kind.LINK:
        target = tree.target_of(node)
    mode = 0 if node.kind is Kind.LINK else node.mode
    return Item(
        kind=node.kind,
        mode=mode,
        mtime_ns=node.status.st_mtime_ns,
        contents=contents,
        target=target,
    )


def entries_of(items: Mapping[bytes, Item]) -> tuple[list[list[Any]], bytes]:
    """As `docker_tree.spread` takes them."""
    entries = [
        [
            path.decode("latin-1"),
            str(item.kind),
            item.mode,
            item.mtime_ns,
            len(item.contents or b""),
            item.target.decode("latin-1"),
        ]
        for path, item in items.items()
    ]
    return entries, b"".join(item.contents or b"" for item in items.values())


def items_of(entries: Sequence[Sequence[Any]], blob: bytes) -> dict[bytes, Item]:
    """Of what `docker_tree.gather` found."""
    found: dict[bytes, Item] = {}
    start = 0
    for packed, kind, mode, mtime_ns, size, target in entries:
        contents: bytes | None = b""
        if kind == Kind.FILE:
            contents = None if size < 0 else blob[start : start + size]
            start += max(size, 0)
        found[packed.encode("latin-1")] = Item(
            kind=Kind(kind),
            mode=0 if kind == Kind.LINK else mode,
            mtime_ns=mtime_ns,
            contents=contents,
            target=target.encode("latin-1"),
        )
    return found


def _differing(base: Mapping[bytes, Item], now: Mapping[bytes, Item]) -> Iterator[bytes]:
    """Paths that are not as they were, in order; below a folder that is gone, only its own."""
    gone = b""
    for path in sorted({*base, *now}, key=lambda path: path.split(b"/")):
        if gone and path.startswith(gone):
            if path in now:
                yield path
            continue
        if path not in now:
            gone = path + b"/"
            yield path
        elif path not in base or not now[path].is_as(base[path]):
            if path in base and base[path].kind is Kind.FOLDER is not now[path].kind:
                gone = path + b"/"
            yield path


def changes_between(
    base: Mapping[bytes, Item], now: Mapping[bytes, Item], most_bytes: int
) -> list[Change]:
    """As `freeze.changes_of` has them, but without folders in which only something changed."""
    found = []
    for path in _differing(base, now):
        item = now.get(path)
        name = os.fsdecode(path)
        if item is None:
            found.append(Change(path=name, kind=Kind.DELETED))
            continue
        contents = item.contents if item.kind is Kind.FILE else None
        size = len(contents or b"")
        if contents is not None and size > most_bytes:
            contents = None
        most_bytes -= len(contents or b"")
        is_over = item.kind is Kind.FOLDER and path in base and base[path].kind is not item.kind
        found.append(
            Change(
                path=name,
                kind=item.kind,
                mode=item.mode,
                contents=contents,
                target=os.fsdecode(item.target) if item.kind is Kind.LINK else "",
                size=size,
                hides_below=is_over,
            )
        )
    return found


def layer_between(
    base: Mapping[bytes, Item], now: Mapping[bytes, Item], store: Path, salt: str = ""
) -> Layer:
    """What makes of `base` what is there now.

    Raises:
        ValueError: a file is too large, or folders are too deep.
    """
    differing = set(_differing(base, now))
    folders = {
        b"/".join(parts[:depth])
        for parts in (path.split(b"/") for path in differing)
        for depth in range(1, len(parts))
    }

    def write(writer: Writer) -> None:
        for path in sorted(differing | folders, key=lambda path: path.split(b"/")):
            item = now.get(path)
            if item is None or item.kind is Kind.OTHER:
                if item is not None and item.target == b"deep":
                    raise ValueError(
                        f"what is to be frozen has more than {tree.MOST_DEEP} folders in each other"
                    )
                if path in base:
                    writer.deleted(path)
            elif item.kind is Kind.FOLDER:
                writer.folder(path, item.mode, item.mtime_ns, is_opaque=False)
            elif item.kind is Kind.LINK:
                writer.link(path, item.target)
            elif item.contents is None:
                raise ValueError(f"{os.fsdecode(path)!r} says that it is too large to be frozen")
            else:
                contents = item.contents
                blocks = (
                    (at, contents[at : at + BLOCK])
                    for at in range(0, len(contents), BLOCK)
                    if contents[at : at + BLOCK].strip(b"\0")
                )
                writer.file(path, item.mode, item.mtime_ns, len(contents), blocks)

    return images.write_layer(store, write, salt)
