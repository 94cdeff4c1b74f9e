"""Functions that the worker tests run inside children."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

_hoard: list[bytes] = []


def seed() -> None:
    _hoard.append(b"from the template")


def count() -> int:
    _hoard.append(b"")
    return _hoard.index(b"from the template") * 100 + len(_hoard) - 1


def start_thread() -> None:
    threading.Thread(target=threading.Event().wait, daemon=True).start()


def linger(note: str) -> None:
    with subprocess.Popen(["sleep", "600"]) as sleeper:
        Path(note).write_text(str(sleeper.pid))


def echo(value: Any) -> Any:
    return value


def not_json() -> object:
    return object()


def recurse() -> None:
    recurse()


def tower() -> int:
    return 9**9**9


def allocate(size_bytes: int) -> int:
    return len(b"\1" * size_bytes)


def hoard(size_bytes: int) -> int:
    _hoard.append(b"\1" * size_bytes)
    return len(_hoard)


def chatter() -> str:
    os.write(1, b"\0\0\0\4true")
    sys.stderr.write("noise")
    return "said"


def die_once(marker: str) -> str:
    path = Path(marker)
    if not path.exists():
        path.touch()
        os._exit(1)
    return "lived"


def surroundings() -> dict[str, Any]:
    return {
        "environment": dict(os.environ),
        "core": resource.getrlimit(resource.RLIMIT_CORE),
        "modules": sorted({"torch", "ray", "vllm", "sympy", "munro"} & {*sys.modules}),
    }


def write(path: str) -> None:
    Path(path).write_text("written")


def write_by_descriptor(path: str) -> None:
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY))


def spawn(path: str) -> None:
    subprocess.run(["touch", path], check=True)


def fork(path: str) -> None:
    if os.fork() == 0:
        Path(path).touch()
        os._exit(0)


def connect(path: str) -> None:
    with socket.socket() as connection:
        connection.connect(("127.0.0.1", 9))


def sympify(text: str) -> str:
    """What the verifier never does with a model's text."""
    import sympy

    return str(sympy.sympify(text))
