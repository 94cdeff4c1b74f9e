"""Join a Ray cluster that is up, or say within seconds that none answers.

Ray itself asks an address that nothing listens at twenty times, which takes ten minutes; and the
file that "auto" reads outlives a cluster that was not ended with `ray stop`.
"""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray

ANSWER_S = 5.0
"""Longest wait for a connection to the cluster's head."""
TRIES = "RAY_gcs_server_port_wait_time_s"
"""Ray's own key for how often it asks the head, which costs it forty seconds each time."""


def join(address: str, **options: Any) -> None:
    """`ray.init` for a cluster that is up.

    Args:
        address: "host:port" of its head, or "auto": what `RAY_ADDRESS` says, and else the cluster
            that was started last on this machine.
        options: of `ray.init`.

    Raises:
        ConnectionError: none answers there; says where, and what to do.
    """
    where = _concrete(address)
    _require_listener(where)
    try:
        with _asking_once():
            ray.init(address=where, **options)
    except ValueError as error:  # a port that is no number, and the like
        raise ConnectionError(str(error)) from error


def _concrete(address: str) -> str:
    """As Ray resolves "auto"."""
    if address != "auto":
        return address
    if told := os.environ.get("RAY_ADDRESS"):
        return told
    folder = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()) / "ray"
    try:
        return (folder / "ray_current_cluster").read_text().strip()
    except OSError as error:
        raise ConnectionError(
            "no cluster was started on this machine: `ray start --head` starts one, "
            "RAY_ADDRESS names another machine's"
        ) from error


def _require_listener(address: str) -> None:
    host, _, port = address.rpartition(":")
    if "://" in host or not port.isdecimal():
        return  # Ray's own client, or what Ray itself will refuse at once
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_S).close()
    except (OSError, OverflowError) as error:
        raise ConnectionError(
            f"nothing listens at {address} ({getattr(error, 'strerror', None) or error}); a "
            "cluster's head is at port 6379 unless `ray start --head` said another"
        ) from error


@contextmanager
def _asking_once() -> Iterator[None]:
    before = os.environ.get(TRIES)
    os.environ.setdefault(TRIES, "1")
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(TRIES, None)
