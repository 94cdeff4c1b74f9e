"""What an agent left at some paths, for tests whose image is another one than the agent's."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from munro.rewards.sandbox import Image, Kind, Layer, tree
from munro.rewards.sandbox.image import copy_node, write_layer
from munro.rewards.sandbox.tree import Node, Writer

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
NOWHERE = {b"", b"..", b"tests"}
"""Parts of a link's target with which it may lead out of its folder, or to the tests."""


def layer_of_artifacts(left: Image, paths: Sequence[str], store: Path, salt: str) -> Layer:
    """What is left at some absolute paths, and nothing else; no link that leads out of there.

    Holes in files stay holes. Costs what lies in the layers, by name, and what lies at the paths.
    """
    wanted = [os.fsencode(path.strip("/")) for path in paths]
    owners = _owners(left.layers, wanted)
    made: set[bytes] = set()

    def write(writer: Writer) -> None:
        for is_folder in (True, False):
            for number, layer in enumerate(left.layers):
                for node in _nodes(layer, wanted):
                    is_kept = owners.get(node.path) == number and _is_kept(node, wanted)
                    if is_kept and (node.kind is Kind.FOLDER) is is_folder:
                        _copy(node, writer, made)

    return write_layer(store, write, salt)


def _copy(node: Node, writer: Writer, made: set[bytes]) -> None:
    """A path, and the folders to it that belong to higher layers, which come later."""
    parts = node.path.split(b"/")
    for depth in range(1, len(parts)):
        folder = b"/".join(parts[:depth])
        if folder not in made:
            made.add(folder)
            writer.folder(folder, 0o755, None, is_opaque=False)
    if node.path in made:
        return
    made.add(node.path)
    copy_node(node, writer, is_opaque=False)


def _owners(layers: Sequence[Layer], wanted: Sequence[bytes]) -> dict[bytes, int]:
    """For each path that is there in the end, the highest layer that has it."""
    found: dict[bytes, int] = {}
    kinds: dict[bytes, Kind] = {}
    for number, layer in enumerate(layers):
        for node in _nodes(layer, wanted):
            both = kinds.get(node.path) is Kind.FOLDER is node.kind
            if node.path in found and (not both or node.is_opaque):
                for path in [path for path in found if _is_above(node.path, path)]:
                    del found[path], kinds[path]
            if node.kind is not Kind.DELETED:
                found[node.path], kinds[node.path] = number, node.kind
    return found


def _nodes(layer: Layer, wanted: Sequence[bytes]) -> Iterator[Node]:
    """Of a layer, what is at the wanted paths, below them, or a folder on the way to them."""
    top = os.open(layer.path, _FOLDER)
    try:
        for node in tree.walk(top):
            if any(_is_above(each, node.path) or _is_above(node.path, each) for each in wanted):
                yield node
    finally:
        os.close(top)


def _is_kept(node: Node, wanted: Sequence[bytes]) -> bool:
    if node.kind is Kind.FOLDER:
        return True
    if not any(_is_above(each, node.path) for each in wanted):
        return False
    if node.kind is Kind.LINK:
        return not NOWHERE & {*tree.target_of(node).split(b"/")}
    return node.kind is Kind.FILE


def _is_above(folder: bytes, path: bytes) -> bool:
    return path == folder or path.startswith(folder + b"/")
