"""A session of the back end of namespaces: several commands of one keeper, and what they left."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

from munro.rewards.sandbox.freeze import MOST_BYTES, Change, changes_of, layer_of_upper
from munro.rewards.sandbox.image import Image, Layer
from munro.rewards.sandbox.inside import wire
from munro.rewards.sandbox.talk import Answer, Keeper, Request
from munro.rewards.sandbox.tree import Kind
from munro.rewards.sandbox.types import Files, Found, Limits, Outcome, Session


class NamespaceSession(Session):
    """Made by `NamespaceSandbox.session`."""

    def __init__(
        self,
        keeper: Keeper,
        limits: Limits,
        image: Image | None,
        store: Path | None,
        *,
        keeps: bool,
    ) -> None:
        self._keeper = keeper
        self._limits = limits
        self._image = image
        self._store = store
        self._keeps = keeps
        self._lock = threading.Lock()

    def run(
        self,
        command: Sequence[str],
        *,
        files: Files | None = None,
        stdin: bytes | str = b"",
        want: Sequence[str] = (),
        limits: Limits | None = None,
        clip: bool = False,
        interleave: bool = False,
    ) -> Outcome:
        request = request_of(command, files, stdin=stdin, want=want, limits=limits or self._limits)
        with self._lock:
            return self._keeper.run(
                replace(
                    request,
                    is_clipped=clip,
                    is_interleaved=interleave,
                    keeps=self._keeps,
                    expects_more=True,
                )
            )

    def abort(self) -> None:
        self._keeper.kill()

    def look(self, path: str, *, most_bytes: int = MOST_BYTES, depth: int = 2) -> Found | None:
        head = {"does": "look", "path": place_of(path), "most_bytes": most_bytes, "depth": depth}
        with self._lock:
            said, contents = self._keeper.touch(head)
        return found_of(said, contents)

    def write(self, path: str, contents: bytes | str | None) -> str:
        refuse_outside(path)
        does = "remove" if contents is None else "write"
        with self._lock:
            head = {"does": does, "path": place_of(path)}
            said, _ = self._keeper.touch(head, wire.as_bytes(contents or b""))
        return str(said["failure"])

    def freeze(self, salt: str = "") -> Layer:
        if self._store is None:
            raise ValueError('a layer needs a place: open the sandbox with store="A FOLDER"')
        with self._lock, self._standstill():
            upper, image = self._written()
            return layer_of_upper(upper, image, self._store, salt)

    def changes(self, most_bytes: int = MOST_BYTES) -> Sequence[Change]:
        with self._lock, self._standstill():
            return changes_of(self._written()[0], most_bytes)

    def end_processes(self) -> None:
        """None that was kept is alive after this."""
        if self._keeps:
            with self._lock:
                self._keeper.end_processes()

    def _standstill(self) -> AbstractContextManager[None]:
        return self._keeper.paused() if self._keeps else nullcontext()

    def _written(self) -> tuple[int, Image]:
        if self._image is None or self._keeper.upper is None:
            raise ValueError("this session has no image to change: open it with image=Image()")
        return self._keeper.upper, self._image


def place_of(path: str) -> str:
    """As the keeper takes it.

    Raises:
        ValueError: it leads out of the working directory.
    """
    if path == ".":
        return ""
    refuse_outside(path)
    return wire.pack(path)


def found_of(said: wire.Head, contents: bytes) -> Found | None:
    """What the other side saw at a path."""
    if said["kind"] == "missing":
        return None
    return Found(
        kind=Kind(said["kind"]),
        mode=said["mode"],
        size=said["size"],
        contents=contents,
        names=tuple(os.fsdecode(wire.unpack(name)) for name in said["names"]),
    )


def request_of(
    command: Sequence[str],
    files: Files | None,
    *,
    stdin: bytes | str = b"",
    want: Sequence[str] = (),
    answer: Answer | None = None,
    limits: Limits,
) -> Request:
    """What a keeper is asked, as bytes.

    Raises:
        ValueError: a path leads out of the working directory, or a command holds a zero byte.
    """
    contents = files or {}
    for path in (*contents, *want):
        refuse_outside(path)
    if any("\0" in part for part in command):
        raise ValueError(f"a command holds a zero byte: {command!r}")
    return Request(
        command=command,
        files=[(path, wire.as_bytes(text)) for path, text in contents.items()],
        want=want,
        stdin=wire.as_bytes(stdin),
        answer=answer,
        limits=limits,
    )


def refuse_outside(path: str) -> None:
    """Only paths below the working directory are anybody's to ask for.

    Raises:
        ValueError: this one is not.
    """
    parts = Path(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\0" in path:
        raise ValueError(f"{path!r} leads out of the working directory: write a path below it")
