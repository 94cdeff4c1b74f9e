"""The back end that runs each program in a Docker container of its own.

No network, a read-only root, no capability and no way to gain one, limits on memory and processes
held by control groups, one small file system in memory for the working directory and /tmp, and the
engine's default seccomp profile. A run has a fresh container, which is removed when it ends; a
session has one for its life. `docker_supervisor` is process 1 in there.

The engine is the one that DOCKER_HOST names, or the local one; its SDK is the extra "docker".
"""

from __future__ import annotations

import functools
import json
import os
import platform
import socket
import struct
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib.resources import files as package_files
from pathlib import PurePosixPath
from typing import Any

import psutil

from rewards.errors import SandboxError
from rewards.sandbox.inside import wire
from rewards.sandbox.types import Files, Limit, Limits, Outcome, Sandbox, Session, Usage

IMAGE = "munro-sandbox"
DEFAULT_HOST = "unix:///var/run/docker.sock"
LABEL = "munro.sandbox"
CAPABILITIES = ["SETUID", "SETGID", "SETPCAP", "KILL"]
"""Of process 1 alone: it steps down with them, and the program has none."""
OVERHEAD_MB = 48
"""MiB of a container beside what the program holds: the supervisor, the kernel's own tables."""
INODES = 16_384
PATIENCE_S = 60.0
"""Of a container that should have answered, beyond the wall seconds of its run."""
FRAME, MUX = struct.Struct("!cI"), struct.Struct("!B3xI")


def open_sandbox(limits: Limits, *, image: str = IMAGE, host: str = "") -> Sandbox:
    """A sandbox whose programs run in containers of `image`.

    Args:
        limits: of each run that names none.
        image: needs `python3` and whatever the programs need; the default is the one that the
            Dockerfile beside this module builds.
        host: address of the engine, as DOCKER_HOST spells it; by default what that says.

    Raises:
        SandboxError: there is no SDK, no engine, or no such image.
    """
    try:
        import docker
    except ImportError:
        raise SandboxError(
            "the docker sandbox needs Docker's SDK for Python: pip install 'munro[docker]'"
        ) from None
    address = host or os.environ.get("DOCKER_HOST") or DEFAULT_HOST
    try:
        if address.startswith("unix://"):
            with socket.socket(socket.AF_UNIX) as probe:  # the SDK would leak one in failing
                probe.connect(address.removeprefix("unix://"))
        client = docker.DockerClient(base_url=host) if host else docker.from_env()
        client.ping()
    except (docker.errors.DockerException, OSError) as failure:
        raise SandboxError(
            f"no Docker engine answers at {address}: start one, or name its address in "
            f"DOCKER_HOST ({_first_line(failure)})"
        ) from None
    try:
        client.images.get(image)
    except docker.errors.ImageNotFound:
        client.close()
        mend = f"docker build -t {image} {package_files('rewards.sandbox')}"
        if image != IMAGE:
            mend = f"docker pull {image}"
        raise SandboxError(f"the Docker engine has no image {image!r}: {mend}") from None
    _sweep(client)
    return DockerSandbox(client, image, limits)


def _first_line(failure: BaseException) -> str:
    return next(iter(str(failure).splitlines()), type(failure).__name__)


def _owner() -> str:
    """This process, so that it is told apart from a later one with its number."""
    return f"{platform.node()}/{os.getpid()}/{psutil.Process().create_time():.2f}"


def _sweep(client: Any) -> None:
    """Remove the containers of processes of this machine that were killed before they could."""
    from docker.errors import APIError

    for container in client.containers.list(
        all=True, filters={"label": LABEL}, ignore_removed=True
    ):
        node, pid, began = container.labels[LABEL].rsplit("/", 2)
        if node != platform.node():
            continue
        with suppress(psutil.NoSuchProcess):
            if f"{psutil.Process(int(pid)).create_time():.2f}" == began:
                continue
        with suppress(APIError):
            container.remove(force=True)


def _checked(path: str) -> str:
    """The path, if it stays below the working directory.

    Raises:
        ValueError: it does not, or names nothing.
    """
    pure = PurePosixPath(path)
    if pure.is_absolute() or not pure.parts or ".." in pure.parts or "\0" in path:
        raise ValueError(f"{path!r} is not a path below the sandbox's working directory")
    return str(pure)


class _Container:
    """One container, and the conversation with the supervisor in it."""

    def __init__(self, client: Any, image: str, limits: Limits, boxes: str) -> None:
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
                "/tmp": f"{tmpfs},size={limits.disk_mb}m,nr_inodes={INODES}",
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
            labels={LABEL: _owner(), f"{LABEL}.box": boxes},
            host_config=config,
            # the client's proxies, and what they may carry, are not for programs
            use_config_proxy=False,
        )["Id"]
        self.unread, self.errors = bytearray(), bytearray()
        self.socket: Any = None

    def start(self) -> None:
        """Attach first, so that nothing is missed; our hanging up is the end of it."""
        streams = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
        attached = self.api.attach_socket(self.id, params=streams)
        self.socket = getattr(attached, "_sock", attached)
        self._attached = attached
        self.api.start(self.id)

    def send(self, letter: bytes, payload: bytes = b"") -> None:
        self.socket.settimeout(PATIENCE_S)
        # a supervisor that is gone says so where we read
        with suppress(BrokenPipeError, ConnectionResetError):
            self.socket.sendall(FRAME.pack(letter, len(payload)) + payload)

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
            stream, size = MUX.unpack(self._exactly(MUX.size, deadline))
            (self.unread if stream == 1 else self.errors).extend(self._exactly(size, deadline))

    def _exactly(self, size: int, deadline: float) -> bytes:
        data = bytearray()
        while len(data) < size:
            self.socket.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                part = self.socket.recv(min(size - len(data), 1 << 20))
            except TimeoutError:
                raise SandboxError(
                    "a Docker container does not answer: its engine may be overloaded or stuck"
                ) from None
            except ConnectionError:
                part = b""
            if not part:
                said = self.errors.decode(errors="replace").strip().splitlines()
                why = said[-1] if said else "without a word"
                raise SandboxError(f"a Docker container ended before its program did: {why}")
            data += part
        return bytes(data)

    def do(
        self,
        command: Sequence[str],
        files: Files | None,
        stdin: bytes | str,
        want: Sequence[str],
        limits: Limits,
        answer: Callable[[bytes], bytes | None] | None = None,
    ) -> Outcome:
        """Have one program run, and tell how it ended."""
        contents = [(_checked(path), wire.as_bytes(text)) for path, text in (files or {}).items()]
        paths = [_checked(path) for path in want]
        if any("\0" in part for part in command):
            raise ValueError(f"a command holds a zero byte: {command!r}")
        head = json.dumps(
            {
                "command": [wire.pack(part) for part in command],
                "files": [(wire.pack(path), len(content)) for path, content in contents],
                "want": [wire.pack(path) for path in paths],
                "converse": answer is not None,
                "cpu_s": limits.cpu_s,
                "wall_s": limits.wall_s,
                "memory_mb": limits.memory_mb,
                "processes": limits.processes,
                "open_files": limits.open_files,
                "output_bytes": limits.output_bytes,
                "disk_mb": limits.disk_mb,
            }
        ).encode()
        blobs = [content for _, content in contents]
        job = [struct.pack("!I", len(head)), head, *blobs, b"" if answer else wire.as_bytes(stdin)]
        self.send(b"J", b"".join(job))
        deadline = time.monotonic() + limits.wall_s + PATIENCE_S
        if answer:
            self._say(answer(b""))
        line = bytearray()
        while True:
            letter, payload = self.receive(deadline)
            if letter == b"R":
                return _outcome(payload, want)
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
for name in ("rewards", "rewards.sandbox", "rewards.sandbox.inside"):
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
    room = package_files("rewards.sandbox")
    names = ("docker_meter", "inside.seccomp", "inside.syscalls", "docker_supervisor")
    modules = {
        f"rewards.sandbox.{name}": room.joinpath(f"{name.replace('.', '/')}.py").read_text()
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
        return Outcome(status=-9, limit=Limit.DISK, usage=nothing)
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
        usage=Usage(cpu_s=ended["cpu_s"], wall_s=ended["wall_s"], memory_mb=ended["memory_mb"]),
    )


class _DockerSession(Session):
    """Commands in one container."""

    def __init__(self, container: _Container, files: Files | None) -> None:
        self.container, self.waiting = container, dict(files or {})

    def run(
        self,
        command: Sequence[str],
        *,
        files: Files | None = None,
        stdin: bytes | str = b"",
        want: Sequence[str] = (),
        limits: Limits | None = None,
    ) -> Outcome:
        """As `Sandbox.run`; memory, processes and disk are at most the session's own."""
        most = self.container.limits
        limits = limits or most
        for name in ("memory_mb", "processes", "disk_mb"):
            if getattr(limits, name) > getattr(most, name):
                raise ValueError(
                    f"a command's {name} ({getattr(limits, name)}) cannot be more than its "
                    f"session's ({getattr(most, name)}): open the session with more"
                )
        files, self.waiting = {**self.waiting, **(files or {})}, {}
        return self.container.do(command, files, stdin, want, limits)


class DockerSandbox(Sandbox):
    """Programs in containers of one image. `open_sandbox` makes it."""

    def __init__(self, client: Any, image: str, limits: Limits) -> None:
        self.client, self.image, self.limits = client, image, limits
        self.name = uuid.uuid4().hex
        self._has: dict[str, bool] = {}
        self._closed = threading.Event()

    @contextmanager
    def _container(self, limits: Limits) -> Iterator[_Container]:
        from docker.errors import DockerException
        from requests import RequestException

        if self._closed.is_set():
            raise SandboxError("this Docker sandbox is closed")
        try:
            container = _Container(self.client, self.image, limits, self.name)
            try:
                container.start()
                yield container
            finally:
                container.remove()
        except (DockerException, RequestException) as failure:
            raise SandboxError(f"the Docker engine failed: {_first_line(failure)}") from failure

    def run(
        self,
        command: Sequence[str],
        *,
        files: Files | None = None,
        stdin: bytes | str = b"",
        want: Sequence[str] = (),
        limits: Limits | None = None,
    ) -> Outcome:
        limits = limits or self.limits
        with self._container(limits) as container:
            return container.do(command, files, stdin, want, limits)

    def converse(
        self,
        command: Sequence[str],
        answer: Callable[[bytes], bytes | None],
        *,
        files: Files | None = None,
        limits: Limits | None = None,
    ) -> Outcome:
        limits = limits or self.limits
        with self._container(limits) as container:
            return container.do(command, files, b"", (), limits, answer)

    @contextmanager
    def session(
        self, *, files: Files | None = None, limits: Limits | None = None
    ) -> Iterator[Session]:
        with self._container(limits or self.limits) as container:
            yield _DockerSession(container, files)

    def has(self, program: str) -> bool:
        if program not in self._has:
            look = "import shutil, sys; sys.exit(shutil.which(sys.argv[1]) is None)"
            command = ["python3", "-I", "-S", "-c", look, program]
            generous = replace(self.limits, cpu_s=10, wall_s=30, memory_mb=128, disk_mb=1)
            self._has[program] = self.run(command, limits=generous).status == 0
        return self._has[program]

    def close(self) -> None:
        """Remove what is left, also under a run of another thread, which then fails."""
        from docker.errors import APIError

        if self._closed.is_set():
            return
        self._closed.set()
        mine = {"label": f"{LABEL}.box={self.name}"}
        for container in self.client.containers.list(all=True, filters=mine, ignore_removed=True):
            with suppress(APIError):
                container.remove(force=True)
        self.client.close()
