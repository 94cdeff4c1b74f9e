"""A session of the Docker back end: commands in a container, over a copy of its image's layers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from munro.rewards.errors import SandboxError
from munro.rewards.sandbox import docker_layers
from munro.rewards.sandbox.docker_container import Container, job_of
from munro.rewards.sandbox.docker_layers import Item
from munro.rewards.sandbox.freeze import MOST_BYTES, Change
from munro.rewards.sandbox.image import Image, Layer
from munro.rewards.sandbox.inside import wire
from munro.rewards.sandbox.session import found_of, place_of, refuse_outside
from munro.rewards.sandbox.types import Files, Found, Limits, Outcome, Session

NO_IMAGE = "this session has no image to change: open it with image=Image()"


class DockerSession(Session):
    """Made by `DockerSandbox.session`."""

    def __init__(
        self,
        container: Container,
        image: Image | None,
        files: Files | None,
        store: Path | None,
        *,
        loopback: bool,
        keeps: bool,
    ) -> None:
        self.container, self.waiting = container, dict(files or {})
        self._store = store
        self._loopback, self._keeps = loopback, keeps
        self._base: dict[bytes, Item] | None = None
        if image is not None:
            self._base = docker_layers.merged(image.layers)
            self._spread("spread", self._base)
            for number, layer in enumerate(image.packages):
                self._spread("packages", docker_layers.merged([layer]), number)

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
        """As `Sandbox.run`; memory, processes and disk are at most the session's own."""
        most = self.container.limits
        limits = limits or most
        for name in ("memory_mb", "processes", "disk_mb", "inodes"):
            if getattr(limits, name) > getattr(most, name):
                raise ValueError(
                    f"a command's {name} ({getattr(limits, name)}) cannot be more than its "
                    f"session's ({getattr(most, name)}): open the session with more"
                )
        files, self.waiting = {**self.waiting, **(files or {})}, {}
        job = job_of(
            command,
            files,
            limits,
            stdin=stdin,
            want=want,
            clip=clip,
            interleave=interleave,
            loopback=self._loopback,
            keeps=self._keeps,
        )
        return self.container.do(job)

    def look(self, path: str, *, most_bytes: int = MOST_BYTES, depth: int = 2) -> Found | None:
        self._put_what_waits()
        head = {"does": "look", "path": place_of(path), "most_bytes": most_bytes, "depth": depth}
        said, contents = self.container.touch({**head, "keeps": self._keeps})
        return found_of(said, contents)

    def write(self, path: str, contents: bytes | str | None) -> str:
        refuse_outside(path)
        self._put_what_waits()
        does = "remove" if contents is None else "write"
        head = {"does": does, "path": place_of(path), "keeps": self._keeps}
        said, _ = self.container.touch(head, wire.as_bytes(contents or b""))
        return str(said["refused"])

    def freeze(self, salt: str = "") -> Layer:
        if self._base is None:
            raise ValueError(NO_IMAGE)
        if self._store is None:
            raise ValueError('a layer needs a place: open the sandbox with store="A FOLDER"')
        return docker_layers.layer_between(self._base, self._now(), self._store, salt)

    def changes(self, most_bytes: int = MOST_BYTES) -> Sequence[Change]:
        if self._base is None:
            raise ValueError(NO_IMAGE)
        return docker_layers.changes_between(self._base, self._now(), most_bytes)

    def _now(self) -> dict[bytes, Item]:
        self._put_what_waits()
        most = max(self.container.limits.disk_mb << 20, MOST_BYTES)
        head = {"does": "gather", "most_bytes": most, "keeps": self._keeps}
        said, blob = self.container.touch(head)
        return docker_layers.items_of(said["entries"], blob)

    def _put_what_waits(self) -> None:
        """Files that the first command would bring."""
        if self.waiting:
            self.run(["true"])

    def _spread(self, does: str, items: dict[bytes, Item], number: int = 0) -> None:
        entries, blob = docker_layers.entries_of(items)
        try:
            self.container.touch({"does": does, "entries": entries, "number": number}, blob)
        except SandboxError as failure:
            room = self.container.limits
            raise SandboxError(
                f"{failure}: in a container the image counts in disk_mb ({room.disk_mb}) and "
                f"inodes ({room.inodes})"
            ) from None
