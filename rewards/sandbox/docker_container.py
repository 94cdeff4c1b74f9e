"""One Docker container, and the talk with the process that is its first.

`docker` decides what runs in which; `docker_supervisor` is the other side.
"""

from __future__ import annotations

import functools
import json
import select
import ssl
import struct
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.resources import files as package_files
from pathlib import PurePosixPath
from typing import Any

from munro.rewards.errors import SandboxError
from munro.rewards.sandbox.inside import wire
from munro.rewards.sandbox.types import Files, Limit, Limits, Outcome, Usage

CAPABILITIES = ["SETUID", "SETGID", "SETPCAP", "KILL"]
"""Of process 1 alone: it steps down with them, and the program has none."""
OVERHEAD_MB = 48
"""MiB of a container beside what the program holds: the supervisor, the kernel's own tables."""
PATIENCE_S = 60.0
"""Of a container that should have answered, beyond the wall seconds of its run."""
CHUNK = 1 << 16
OPTIONS = ("clip", "interleave", "loopback", "keeps")
"""Of a session's command."""
FRAME, MUX = struct.Struct("!cI"), struct.Struct("!B3xI")


def _checked(path: str) -> str:
    """The path, if it stays below the working directory.

    Raises:
        ValueError: it does not, or names nothing.
    """
    pure = PurePosixPath(path)
    if pure.is_absolute() or not pure.parts or ".." in pure.parts or "\0" in path:
        raise ValueError(f"{path!r} is not a path below the sandbox's working directory")
    return str(pure)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One program, as its container is told of it."""

    payload: bytes
    want: Sequence[str]
    limits: Limits
    answer: Callable[[bytes], bytes | None] | None


def job_of(
    command: Sequence[str],
    files: Files | None,
    limits: Limits,
    *,
    stdin: bytes | str = b"",
    want: Sequence[str] = (),
    answer: Callable[[bytes], bytes | None] | None = None,
    **options: bool,
) -> Job:
    """Checked before there is a container.

    Args:
        options: of OPTIONS.

    Raises:
        ValueError: a path leads out of the working directory.
    """
    contents = [(_checked(path), wire.as_bytes(text)) for path, text in (files or {}).items()]
    paths = [_checked(path) for path in want]
    if any("\0" in part for part in command):
        raise ValueError(f"a command holds a zero byte: {command!r}")
    head = json.dumps(
        {
            **asdict(limits),
            "command": [wire.pack(part) for part in command],
            "files": [(wire.pack(path), len(content)) for path, content in contents],
            "want": [wire.pack(path) for path in paths],
            "converse": answer is not None,
            **dict.fromkeys(OPTIONS, False),
            **options,
        }
    ).encode()
    blobs = [content for _, content in contents]
    payload = b"".join([struct.pack("!I", len(head)), head, *blobs, wire.as_bytes(stdin)])
    return Job(payload=payload, want=want, limits=limits, answer=answer)


class Container:
    """One container, and the conversation with the supervisor in it."""

    def __init__(self, client: Any, image: str, limits: Limits, labels: dict[str, str]) -> None:
        self.api, self.limits = client.api, limits
        tmpfs = "rw,exec,nosuid,nodev,mode=1777"
        config = self.api.create_host_config(
            network_mode="none",
            read_only=True,
            cap_drop=["ALL"],
            cap_add=CAPABILITIES,
            security_opt=["no-new-privileges"],
            pids_limit=limits.processes + 1,
            mem_limit=(limits.memory_mb + limits.disk_mb + OVERHEAD_MB) << 20,
            memswap_limit=(limits.memory_mb + limits.disk_mb + OVERHEAD_MB) << 20,
            tmpfs={
                "/tmp": f"{tmpfs},size={limits.disk_mb}m,nr_inodes={limits.inodes}",
                "/dev/shm": f"{tmpfs},noexec,size=8m,nr_inodes=256",
            },
            ipc_mode="none",
            # what a program prints would else be kept on the host's disk
            log_config={"Type": "none"},
            auto_remove=True,
        )
        self.id = self.api.create_container(
            image,
            ["-I", "-S", "-c", _supervisor()],
            entrypoint="python3",
            user="0:0",
            working_dir="/",
            hostname="sandbox",
            stdin_open=True,
            labels=labels,
            host_config=config,
            # the client's proxies, and what they may carry, are not for programs
            use_config_proxy=False,
        )["Id"]
        self.muxed, self.unread, self.errors = bytearray(), bytearray(), bytearray()
        self.unsent = bytearray()
        self.socket: Any = None

    def start(self) -> None:
        """Attach first, so that nothing is missed; our hanging up is the end of it."""
        streams = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
        attached = self.api.attach_socket(self.id, params=streams)
        self.socket = getattr(attached, "_sock", attached)
        self.socket.setblocking(False)
        self._attached = attached
        self.api.start(self.id)

    def send(self, letter: bytes, payload: bytes = b"") -> None:
        """Leaves while something is received: each side may be waiting for the other to listen."""
        self.unsent += FRAME.pack(letter, len(payload)) + payload

    def receive(self, deadline: float) -> tuple[bytes, bytes]:
        """The next frame of the supervisor.

        Raises:
            SandboxError: the container ended, or is silent beyond the deadline.
        """
        while True:
            if len(self.unread) >= FRAME.size:
                letter, size = FRAME.unpack_from(self.unread)
                if len(self.unread) >= FRAME.size + size:
                    payload = bytes(self.unread[FRAME.size : FRAME.size + size])
                    del self.unread[: FRAME.size + size]
                    return letter, payload
            self._pump(deadline)
            while len(self.muxed) >= MUX.size:
                stream, size = MUX.unpack_from(self.muxed)
                if len(self.muxed) < MUX.size + size:
                    break
                out = self.unread if stream == 1 else self.errors
                out += self.muxed[MUX.size : MUX.size + size]
                del self.muxed[: MUX.size + size]

    def _pump(self, deadline: float) -> None:
        """Some bytes, one way or the other."""
        poll = select.poll()
        poll.register(self.socket, select.POLLIN | (select.POLLOUT if self.unsent else 0))
        ready = poll.poll(max(deadline - time.monotonic(), 0) * 1000)
        if not ready:
            raise SandboxError(
                "a Docker container does not answer: its engine may be overloaded or stuck"
            )
        # a connection that is encrypted may want to read before it writes, and the other way
        with suppress(BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            if ready[0][1] & select.POLLOUT:
                with suppress(BrokenPipeError, ConnectionResetError):
                    del self.unsent[: self.socket.send(self.unsent[:CHUNK])]
            try:
                part = self.socket.recv(CHUNK)
            except ConnectionError:
                part = b""
            if not part:
                said = self.errors.decode(errors="replace").strip().splitlines()
                why = said[-1] if said else "without a word"
                raise SandboxError(f"a Docker container ended before its program did: {why}")
            self.muxed += part

    def do(self, job: Job) -> Outcome:
        """Have one program run, and tell how it ended."""
        self.send(b"J", job.payload)
        deadline = time.monotonic() + job.limits.wall_s + PATIENCE_S
        answer, line = job.answer, bytearray()
        if answer:
            self._say(answer(b""))
        while True:
            letter, payload = self.receive(deadline)
            if letter == b"R":
                return _outcome(payload, job.want)
            if not answer:
                raise SandboxError("a Docker container said what it was not asked for")
            replies = []
            for part in payload.splitlines(keepends=True):
                line += part
                if line.endswith(b"\n"):
                    replies.append(answer(bytes(line)))
                    line.clear()
            self._say(b"".join(reply for reply in replies if reply))
            if None in replies:
                self._say(None)

    def touch(self, head: dict[str, Any], blob: bytes = b"") -> tuple[dict[str, Any], bytes]:
        """Have files looked at or written, between two programs.

        Raises:
            SandboxError: it could not be done.
        """
        words = json.dumps(head).encode()
        self.send(b"T", struct.pack("!I", len(words)) + words + blob)
        letter, payload = self.receive(time.monotonic() + PATIENCE_S)
        if letter != b"R":
            raise SandboxError("a Docker container said what it was not asked for")
        start = 4 + struct.unpack_from("!I", payload)[0]
        said = json.loads(payload[4:start])
        if "failure" in said:
            raise SandboxError(f"a Docker container could not take the files: {said['failure']}")
        return said, payload[start:]

    def _say(self, reply: bytes | None) -> None:
        if reply is None:
            self.send(b"E")
        elif reply:
            self.send(b"I", reply)

    def remove(self) -> None:
        """End all that runs in it, and leave nothing."""
        from docker.errors import APIError, NotFound

        if self.socket is not None:
            self.socket.close()
            self._attached.close()
        try:
            self.api.remove_container(self.id, force=True)
        except NotFound:
            return
        except APIError as failure:
            if failure.status_code != 409:  # it is being removed because it ended
                raise


_BOOT = """
import sys, types
for name in ("munro", "munro.rewards", "munro.rewards.sandbox", "munro.rewards.sandbox.inside"):
    sys.modules[name] = types.ModuleType(name)
for name, source in MODULES.items():
    module = sys.modules[name] = types.ModuleType(name)
    setattr(sys.modules[name.rpartition(".")[0]], name.rpartition(".")[2], module)
    exec(compile(source, name, "exec", dont_inherit=True), module.__dict__)
module.main()
"""


@functools.cache
def _supervisor() -> str:
    """Source of process 1: the modules that it imports, then itself."""
    room = package_files("munro.rewards.sandbox")
    names = (
        "docker_meter", "tree", "inside.files", "docker_tree", "output", "inside.seccomp",
        "inside.syscalls", "docker_supervisor",
    )  # fmt: skip
    modules = {
        f"munro.rewards.sandbox.{name}": room.joinpath(f"{name.replace('.', '/')}.py").read_text()
        for name in names
    }
    return f"MODULES = {modules!r}\n{_BOOT}"


def _outcome(payload: bytes, want: Sequence[str]) -> Outcome:
    """What the supervisor says, as an outcome.

    Raises:
        SandboxError: it could not begin.
    """
    start = 4 + struct.unpack_from("!I", payload)[0]
    ended = json.loads(payload[4:start])
    if "failure" in ended and not ended["full"]:
        raise SandboxError(f"a Docker container could not take the files: {ended['failure']}")
    if "failure" in ended:
        nothing = Usage(cpu_s=0, wall_s=0, memory_mb=0)
        return Outcome(status=-9, limit=Limit(ended["full"]), usage=nothing)
    contents = []
    for size in ended["sizes"]:
        contents.append(payload[start : start + size])
        start += size
    stdout, stderr, *found = contents
    return Outcome(
        status=ended["status"],
        stdout=stdout,
        stderr=stderr,
        files={want[i]: content for i, content in zip(ended["found"], found, strict=True)},
        limit=Limit(ended["limit"]) if ended["limit"] else None,
        left_out=ended["left_out"],
        usage=Usage(cpu_s=ended["cpu_s"], wall_s=ended["wall_s"], memory_mb=ended["memory_mb"]),
    )
