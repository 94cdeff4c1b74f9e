"""A session of the back end of namespaces: several commands of one keeper, and what they left."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from munro.rewards.sandbox.freeze import MOST_BYTES, Change, changes_of, layer_of_upper
from munro.rewards.sandbox.image import Image, Layer
from munro.rewards.sandbox.inside import wire
from munro.rewards.sandbox.talk import Answer, Keeper, Request
from munro.rewards.sandbox.types import Files, Limits, Outcome, Session


class NamespaceSession(Session):
    """Made by `NamespaceSandbox.session`."""

    def __init__(
        self, keeper: Keeper, limits: Limits, image: Image | None, store: Path | None
    ) -> None:
        self._keeper = keeper
        self._limits = limits
        self._image = image
        self._store = store
        self._lock = threading.Lock()

    def run(
        self,
        command: Sequence[str],
        *,
        files: Files | None = None,
        stdin: bytes | str = b"",
        want: Sequence[str] = (),
        limits: Limits | None = None,
    ) -> Outcome:
        request = request_of(command, files, stdin=stdin, want=want, limits=limits or self._limits)
        with self._lock:
            return self._keeper.run(request)

    def freeze(self) -> Layer:
        if self._store is None:
            raise ValueError('a layer needs a place: open the sandbox with store="A FOLDER"')
        with self._lock:
            upper, image = self._written()
            return layer_of_upper(upper, image, self._store)

    def changes(self, most_bytes: int = MOST_BYTES) -> Sequence[Change]:
        with self._lock:
            return changes_of(self._written()[0], most_bytes)

    def _written(self) -> tuple[int, Image]:
        if self._image is None or self._keeper.upper is None:
            raise ValueError("this session has no image to change: open it with image=Image()")
        return self._keeper.upper, self._image


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
