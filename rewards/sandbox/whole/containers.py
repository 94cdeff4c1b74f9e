"""Containers that are the whole machine of an episode: images of others, used as they are.

    engine = open_engine()
    image = engine.build(Path("task/environment"), Path("task/environment/Dockerfile"), 600)
    with engine.session(image, Limits(memory_mb=2048)) as session:
        session.run(["sh", "-c", "echo 42 > /app/answer"])
        left = session.commit()

Unlike `docker`, nothing of ours is inside, so an image needs no Python; programs run as the image's
user, root as a rule, in a container without network, with the rights that Docker gives by default
but raw sockets and device files, and no way to gain more. Memory, processes and seconds are
limited; the disk is not, and no CPU seconds are counted.
"""

from __future__ import annotations

import io
import posixpath
import select
import stat
import tarfile
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from munro.rewards.errors import SandboxError
from munro.rewards.sandbox.docker import LABEL, connected, first_line, owner
from munro.rewards.sandbox.docker_container import MUX
from munro.rewards.sandbox.freeze import MOST_BYTES, Change
from munro.rewards.sandbox.image import Layer
from munro.rewards.sandbox.inside import wire
from munro.rewards.sandbox.output import Said
from munro.rewards.sandbox.session import refuse_outside
from munro.rewards.sandbox.tree import Kind
from munro.rewards.sandbox.types import Files, Found, Limit, Limits, Outcome, Session, Usage

CAPABILITIES = [
    "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETPCAP", "SETUID",
]  # fmt: skip
TICK_S = 0.2
"""Between looks at whether a command has ended whose output others still hold."""
FOLDER_BIT, LINK_BIT, KINDS = 1 << 31, 1 << 27, 0x8F280000
"""Of a mode as the engine, written in Go, says it: folder, link, and all that is no plain file."""
_LIST = (
    'cd -- "$0" && for f in * */*; do if [ -d "$f" ]; then echo "$f/"; '
    'elif [ -e "$f" ]; then echo "$f"; fi; done'
)


def open_engine(host: str = "") -> RootEngine:
    """The engine that DOCKER_HOST names, or the local one.

    Raises:
        SandboxError: there is no SDK, or no engine.
    """
    return RootEngine(connected(host))


class RootEngine:
    """Images and containers of an engine. Safe to use from many threads; close it in the end."""

    def __init__(self, client: Any) -> None:
        self.client, self.name = client, uuid.uuid4().hex

    def build(self, context: Path, recipe: Path, seconds: float) -> str:
        """The image that a Dockerfile makes of a folder; the engine keeps its steps.

        Raises:
            ValueError: it does not; one line that says why.
        """
        from docker.errors import APIError, BuildError
        from requests import RequestException

        try:
            image, _ = self.client.images.build(
                path=str(context.resolve()),
                dockerfile=str(recipe.resolve()),
                rm=True,
                forcerm=True,
                timeout=int(seconds),
                labels={LABEL.replace("sandbox", "image"): "built"},
            )
        except BuildError as failure:
            said = [str(line.get("stream", "")).strip() for line in failure.build_log]
            steps = [line for line in said if line.startswith("Step ")]
            step = f"{steps[-1]}: " if steps else ""
            raise ValueError(f"{step}{first_line(failure)}") from failure
        except (APIError, RequestException, TypeError) as failure:
            raise ValueError(first_line(failure)) from failure
        return str(image.id)

    def find(self, name: str) -> str:
        """The image of that name.

        Raises:
            ValueError: the engine has none.
        """
        from docker.errors import ImageNotFound

        try:
            return str(self.client.images.get(name).id)
        except ImageNotFound:
            raise ValueError(f"the engine has no image {name!r}: docker pull {name}") from None

    def workdir(self, image: str) -> str:
        """Where its commands begin."""
        told = self.client.api.inspect_image(image)["Config"].get("WorkingDir")
        return str(told or "/")

    def forget(self, image: str) -> None:
        """Take an image away; one that is used stays."""
        from docker.errors import APIError

        with suppress(APIError):
            self.client.api.remove_image(image, force=True)

    @contextmanager
    def session(
        self, image: str, limits: Limits, *, empty: Sequence[str] = ()
    ) -> Iterator[RootSession]:
        """A container of an image, for several commands.

        Args:
            empty: absolute paths of folders that are empty, whatever the image has there.

        Raises:
            SandboxError: the engine failed.
        """
        from docker.errors import DockerException
        from docker.types import Mount
        from requests import RequestException

        api = self.client.api
        try:
            config = api.create_host_config(
                network_mode="none",
                cap_drop=["ALL"],
                cap_add=CAPABILITIES,
                security_opt=["no-new-privileges"],
                pids_limit=limits.processes,
                mem_limit=limits.memory_mb << 20,
                memswap_limit=limits.memory_mb << 20,
                mounts=[Mount(path, None, type="volume", no_copy=True) for path in empty],
                log_config={"Type": "none"},
            )
            made = api.create_container(
                image,
                ["-c", "while :; do sleep 3600; done"],
                entrypoint="sh",
                hostname="sandbox",
                labels={LABEL: owner(), f"{LABEL}.box": self.name},
                host_config=config,
                use_config_proxy=False,
            )["Id"]
            try:
                api.start(made)
                yield RootSession(api, made, limits)
            finally:
                self._remove(made)
        except (DockerException, RequestException) as failure:
            raise SandboxError(f"the Docker engine failed: {first_line(failure)}") from failure

    def _remove(self, container: str) -> None:
        from docker.errors import APIError

        with suppress(APIError):
            self.client.api.remove_container(container, force=True, v=True)

    def close(self) -> None:
        """Remove what is left. Safe to call twice."""
        mine = {"label": f"{LABEL}.box={self.name}"}
        for container in self.client.containers.list(all=True, filters=mine, ignore_removed=True):
            self._remove(container.id)
        self.client.close()


class RootSession(Session):
    """Made by `RootEngine.session`. Paths are below the root; what a command leaves goes on.

    `freeze` and `changes` it has not: `commit` gives an image of all that is there.
    """

    def __init__(self, api: Any, container: str, limits: Limits) -> None:
        self._api, self._container, self._limits = api, container, limits
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
        env: Mapping[str, str] | None = None,
        workdir: str | None = None,
    ) -> Outcome:
        """As `Session.run`; `limits` are seconds and bytes of output, the rest is the container's.

        Args:
            env: beside the image's own.
            workdir: in place of the image's own.

        Raises:
            ValueError: there is something to read from stdin, which no command here has.
        """
        if stdin:
            raise ValueError("a command in a container of this kind has no stdin")
        limits = limits or self._limits
        for path, brought in (files or {}).items():
            self.write(path, brought)
        with self._lock:
            done = self._run(command, limits, clip, interleave, dict(env or {}), workdir)
        found = {path: self.look(path, most_bytes=limits.disk_mb << 20) for path in want}
        contents = {
            path: each.contents for path, each in found.items() if each and each.kind is Kind.FILE
        }
        return Outcome(
            status=done.status,
            stdout=done.stdout,
            stderr=done.stderr,
            files=contents,
            limit=done.limit,
            left_out=done.left_out,
            usage=done.usage,
        )

    def _run(
        self,
        command: Sequence[str],
        limits: Limits,
        clip: bool,
        interleave: bool,
        env: dict[str, str],
        workdir: str | None,
    ) -> Outcome:
        began = time.monotonic()
        # its number in there comes first, so that it can be ended: it leads a group of its own
        rest = 'exec "$@" 2>&1' if interleave else 'exec "$@"'
        words = ["sh", "-c", f"echo $$; {rest}", "sh", *command]
        made = self._api.exec_create(
            self._container, words, environment=env, workdir=workdir, stdin=False
        )["Id"]
        stream = self._api.exec_start(made, socket=True)
        try:
            out, err, limit = self._listen(stream, made, limits, clip, interleave)
        finally:
            for each in (
                getattr(stream, "_response", None),
                stream,
                getattr(stream, "_sock", None),
            ):
                with suppress(OSError, ValueError, AttributeError):  # each shuts some of the others
                    each.close()  # type: ignore[union-attr]
        status = self._api.exec_inspect(made)["ExitCode"]
        code = 137 if status is None or limit is not None else int(status)
        wall_s = time.monotonic() - began
        return Outcome(
            status=128 - code if code > 128 else code,
            stdout=out.text(),
            stderr=err.text(),
            limit=limit,
            left_out=(out.left_out + err.left_out) if clip else 0,
            usage=Usage(cpu_s=0, wall_s=wall_s, memory_mb=0),
        )

    def _listen(
        self, stream: Any, made: str, limits: Limits, clip: bool, interleave: bool
    ) -> tuple[Said, Said, Limit | None]:
        """What a command says, until it has ended or is over a limit and has been ended."""
        raw = getattr(stream, "_sock", stream)
        out, err = (Said(most_bytes=limits.output_bytes, is_clipped=clip) for _ in range(2))
        deadline = time.monotonic() + limits.wall_s
        poll = select.poll()
        poll.register(raw, select.POLLIN)
        unread, number = bytearray(), bytearray()
        is_named, has_ended = False, False
        while True:
            rest = deadline - time.monotonic()
            if rest <= 0:
                self._end(number)
                return out, err, Limit.WALL
            if poll.poll(max(0.0, min(TICK_S, rest)) * 1000):
                part = raw.recv(1 << 16)
                if not part:
                    return out, err, None
                unread += part
            elif has_ended:  # others, in the background, still hold its output
                return out, err, None
            else:
                has_ended = not self._api.exec_inspect(made)["Running"]
            while len(unread) >= MUX.size:
                which, size = MUX.unpack_from(unread)
                if len(unread) < MUX.size + size:
                    break
                said = bytes(unread[MUX.size : MUX.size + size])
                del unread[: MUX.size + size]
                if which == 1 and not is_named:
                    first, is_named_now, said = said.partition(b"\n")
                    number += first
                    is_named = bool(is_named_now)
                (out if which == 1 or interleave else err).take(said)
            if not clip and (out.is_over or err.is_over):
                self._end(number)
                return out, err, Limit.OUTPUT

    def _end(self, number: bytearray) -> None:
        """A command and what is in its group."""
        if number.isdigit():
            kill = f"kill -KILL -{number.decode()} || kill -KILL {number.decode()}"
            made = self._api.exec_create(self._container, ["sh", "-c", kill], user="0")
            self._api.exec_start(made["Id"], detach=True)

    def look(self, path: str, *, most_bytes: int = MOST_BYTES, depth: int = 2) -> Found | None:  # noqa: ARG002
        from docker.errors import NotFound

        if path != ".":
            refuse_outside(path)
        place = posixpath.normpath(f"/{path}")
        try:
            parts, status = self._api.get_archive(self._container, place)
        except NotFound:
            return None
        mode = int(status["mode"])
        bits = mode & 0o777
        if mode & FOLDER_BIT:
            parts.close()
            return Found(kind=Kind.FOLDER, mode=bits, names=self._names(place, most_bytes))
        if mode & LINK_BIT:
            parts.close()
            return Found(kind=Kind.LINK, mode=bits, contents=status["linkTarget"].encode())
        if mode & KINDS:
            parts.close()
            return Found(kind=Kind.OTHER, mode=bits)
        contents = _first_file(parts, most_bytes)
        return Found(kind=Kind.FILE, mode=bits, size=int(status["size"]), contents=contents)

    def _names(self, place: str, most_bytes: int) -> tuple[str, ...]:
        listed = self._run(
            ["sh", "-c", _LIST, place], Limits(output_bytes=most_bytes), True, False, {}, None
        )
        return tuple(sorted(listed.stdout.decode(errors="surrogateescape").splitlines()))

    def write(self, path: str, contents: bytes | str | None) -> str:
        refuse_outside(path)
        found = self.look(path, most_bytes=0)
        if found is not None and found.kind is not Kind.FILE:
            return "it is no regular file"
        if contents is None:
            with self._lock:
                done = self._run(["rm", "--", f"/{path}"], Limits(), True, True, {}, "/")
            return "" if done.is_ok else done.stdout.decode(errors="replace").strip()
        mode = 0o644 if found is None else found.mode
        return self.put({path: (wire.as_bytes(contents), mode)})

    def put(self, files: Mapping[str, tuple[bytes, int]], folder: str = "/") -> str:
        """Write files (contents, mode) below a folder that is there; why it could not be done."""
        from docker.errors import APIError

        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w") as tar:
            for name, (contents, mode) in sorted(files.items()):
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode, entry.mtime = len(contents), mode, int(time.time())
                tar.addfile(entry, io.BytesIO(contents))
        try:
            self._api.put_archive(self._container, folder, data.getvalue())
        except APIError as failure:
            return first_line(failure)
        return ""

    def commit(self) -> str:
        """An image of all that is there but what was `empty`; its processes stand still for it."""
        return str(self._api.commit(self._container, pause=True)["Id"])

    def freeze(self, salt: str = "") -> Layer:  # noqa: ARG002
        raise ValueError("a container that is a whole machine gives no layer: commit() it")

    def changes(self, most_bytes: int = MOST_BYTES) -> Sequence[Change]:  # noqa: ARG002
        raise ValueError("a container that is a whole machine gives no changes: commit() it")


def _first_file(parts: Iterator[bytes], most_bytes: int) -> bytes:
    """Of an archive as it comes in, the beginning of its one file."""
    data = bytearray()
    for part in parts:
        data += part
        if len(data) >= most_bytes + 4 * tarfile.BLOCKSIZE:
            break
    parts.close()  # type: ignore[attr-defined]
    with suppress(tarfile.TarError), tarfile.open(fileobj=io.BytesIO(data), mode="r|") as tar:
        for entry in tar:
            if stat.S_ISREG(entry.mode) or entry.isfile():
                file = tar.extractfile(entry)
                if file is not None:
                    with suppress(tarfile.ReadError):
                        return file.read(min(most_bytes, entry.size))
    return b""
