"""A Docker engine and an image for tests: what is there is used, else made of what is installed."""

from __future__ import annotations

import importlib.util
import io
import os
import re
import shutil
import socket
import subprocess
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from munro.rewards.sandbox.docker import DEFAULT_HOST

TEST_IMAGE = "munro-sandbox-test-tools"
TOOLS = (
    "base64", "bash", "cat", "chmod", "cp", "env", "grep", "head", "id", "ln", "ls", "mkdir",
    "mkfifo", "mount", "mv", "readlink", "rm", "seq", "sh", "sleep", "stat", "su", "touch", "true",
    "truncate", "wc", "yes",
)  # fmt: skip
LEFT_OUT = {"test", "tests", "idlelib", "tkinter", "ensurepip", "site-packages", "dist-packages"}
START_S = 60


def why_no_engine() -> str:
    """A reason to skip; empty where an engine answers or can be started."""
    if importlib.util.find_spec("docker") is None:
        return "Docker's SDK is not installed (the extra 'docker')"
    if _answers(os.environ.get("DOCKER_HOST") or DEFAULT_HOST):
        return ""
    if os.geteuid():
        return "no Docker engine answers, and only root can start one"
    if not (shutil.which("dockerd") and shutil.which("containerd")):
        return "no Docker engine answers, and none is installed (apt-get install docker.io)"
    return ""


def _answers(address: str) -> bool:
    if not address.startswith("unix://"):
        return True  # somebody took the trouble to name it
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(address.removeprefix("unix://")) == 0


@contextmanager
def engine(folder: Path) -> Iterator[str]:
    """The address of an engine: the one that runs, or one of our own that ends with us."""
    if _answers(os.environ.get("DOCKER_HOST") or DEFAULT_HOST):
        yield ""
        return
    address = f"unix://{folder}/docker.sock"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                "dockerd", "-H", address, "--data-root", f"{folder}/data", "--exec-root",
                f"{folder}/exec", "--pidfile", f"{folder}/pid", "--storage-driver=overlay2",
                "--iptables=false", "--bridge=none",
            ],
            stdout=log,
            stderr=log,
            start_new_session=True,
        )  # fmt: skip
    try:
        _wait_for(address, process, folder / "log")
        yield address
    finally:
        process.terminate()
        process.wait(START_S)


def _wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < deadline:
        if _answers(address):
            return
        time.sleep(0.2)
    process.terminate()
    raise AssertionError(f"dockerd did not start: {log.read_text()[-2000:]}")


def make_image(address: str) -> str:
    """An image with this machine's own Python and a few tools, if there is none yet."""
    import docker

    client = docker.DockerClient(base_url=address) if address else docker.from_env()
    if not client.images.list(TEST_IMAGE):
        client.api.import_image_from_data(_root_file_system(), repository=TEST_IMAGE, tag="latest")
    client.close()
    return TEST_IMAGE


def _root_file_system() -> bytes:
    python = os.path.realpath("/usr/bin/python3")
    library = Path(
        subprocess.check_output(
            [python, "-I", "-S", "-c", "import sysconfig; print(sysconfig.get_path('stdlib'))"],
            text=True,
        ).strip()
    )
    members = {"/usr/bin/python3": python}
    for folder, below, names in os.walk(library, followlinks=True):
        below[:] = [name for name in below if name not in LEFT_OUT]
        members |= {f"{folder}/{name}": os.path.realpath(f"{folder}/{name}") for name in names}
    for tool in TOOLS:
        if found := shutil.which(tool, path="/bin:/usr/bin"):
            members[f"/bin/{tool}"] = os.path.realpath(found)
    shared = [path for path in members.values() if path.endswith(".so")]
    programs = [path for name, path in members.items() if "/bin/" in name]
    linked = subprocess.run(["ldd", *programs, *shared], capture_output=True, text=True).stdout
    members |= {path: os.path.realpath(path) for path in re.findall(r"(/\S+) \(0x", linked)}
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", dereference=True) as tar:
        for name, path in members.items():
            if os.path.isfile(path):
                tar.add(path, name.lstrip("/"), recursive=False)
        for name in ("tmp", "proc", "sys", "dev", "etc", "root", "home"):
            folder_entry = tarfile.TarInfo(name)
            folder_entry.type, folder_entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(folder_entry)
        users = b"root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n"
        entry = tarfile.TarInfo("etc/passwd")
        entry.size = len(users)
        tar.addfile(entry, io.BytesIO(users))
    return data.getvalue()
