"""The back end that runs each program in a Docker container of its own.

No network, a read-only root, no capability and no way to gain one, limits on memory and processes
held by control groups, one small file system in memory for the working directory and /tmp, and the
engine's default seccomp profile. A run has a fresh container, which is removed when it ends; a
session has one for its life. `docker_supervisor` is process 1 in there.

The engine is the one that DOCKER_HOST names, or the local one; its SDK is the extra "docker".
"""

from __future__ import annotations

import os
import platform
import socket
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

import psutil

from munro.rewards.errors import SandboxError
from munro.rewards.sandbox.docker_container import Container, job_of
from munro.rewards.sandbox.docker_session import DockerSession
from munro.rewards.sandbox.image import Image, check_image, in_use, open_store
from munro.rewards.sandbox.named import resolved
from munro.rewards.sandbox.types import Files, Limits, Outcome, Sandbox, Session

IMAGE = "munro-sandbox"
DEFAULT_HOST = "unix:///var/run/docker.sock"
LABEL = "munro.sandbox"


def open_sandbox(
    limits: Limits, *, image: str = IMAGE, host: str = "", store: str | Path | None = None
) -> Sandbox:
    """A sandbox whose programs run in containers of `image`.

    Args:
        limits: of each run that names none.
        image: needs `python3` and whatever the programs need; the default is the one that the
            Dockerfile beside this module builds.
        host: address of the engine, as DOCKER_HOST spells it; by default what that says.
        store: folder of the layers that images of sessions are made of; made if it is not there.

    Raises:
        SandboxError: there is no SDK, no engine, or no such image.
    """
    client = connected(host)
    from docker.errors import ImageNotFound

    try:
        client.images.get(image)
    except ImageNotFound:
        client.close()
        mend = f"docker build -t {image} {package_files('munro.rewards.sandbox')}"
        if image != IMAGE:
            mend = f"docker pull {image}"
        raise SandboxError(f"the Docker engine has no image {image!r}: {mend}") from None
    layers = None if store is None else open_store(Path(store))
    return DockerSandbox(client, image, limits, layers)


def connected(host: str = "") -> Any:
    """A client of the engine, on which nothing is left of processes that were killed.

    Raises:
        SandboxError: there is no SDK, or no engine.
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
            f"DOCKER_HOST ({first_line(failure)})"
        ) from None
    _sweep(client)
    return client


def first_line(failure: BaseException) -> str:
    """Of what it says."""
    return next(iter(str(failure).splitlines()), type(failure).__name__)


def owner() -> str:
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
            container.remove(force=True, v=True)


class DockerSandbox(Sandbox):
    """Programs in containers of one image. `open_sandbox` makes it."""

    def __init__(self, client: Any, image: str, limits: Limits, store: Path | None) -> None:
        self.client, self.image, self.limits = client, image, limits
        self.store = store
        self.name = uuid.uuid4().hex
        self._has: dict[str, bool] = {}
        self._closed = threading.Event()

    @contextmanager
    def _container(self, limits: Limits) -> Iterator[Container]:
        from docker.errors import DockerException
        from requests import RequestException

        if self._closed.is_set():
            raise SandboxError("this Docker sandbox is closed")
        try:
            container = Container(
                self.client,
                self.image,
                limits,
                {LABEL: owner(), f"{LABEL}.box": self.name},
            )
            try:
                container.start()
                yield container
            finally:
                container.remove()
        except (DockerException, RequestException) as failure:
            raise SandboxError(f"the Docker engine failed: {first_line(failure)}") from failure

    def run(
        self,
        command: Sequence[str],
        *,
        files: Files | None = None,
        stdin: bytes | str = b"",
        want: Sequence[str] = (),
        limits: Limits | None = None,
    ) -> Outcome:
        job = job_of(command, files, limits or self.limits, stdin=stdin, want=want)
        with self._container(job.limits) as container:
            return container.do(job)

    def converse(
        self,
        command: Sequence[str],
        answer: Callable[[bytes], bytes | None],
        *,
        files: Files | None = None,
        limits: Limits | None = None,
    ) -> Outcome:
        job = job_of(command, files, limits or self.limits, answer=answer)
        with self._container(job.limits) as container:
            return container.do(job)

    @contextmanager
    def session(
        self,
        *,
        image: Image | str | None = None,
        files: Files | None = None,
        loopback: bool = False,
        keep_processes: bool = False,
        limits: Limits | None = None,
    ) -> Iterator[Session]:
        image = resolved(image, self.store)
        if image is not None:
            check_image(image, self.store)
            if image.is_root:
                raise ValueError("only the back end 'namespaces' has images that are the root")
        with in_use(image or Image()), self._container(limits or self.limits) as container:
            yield DockerSession(
                container, image, files, self.store, loopback=loopback, keeps=keep_processes
            )

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
