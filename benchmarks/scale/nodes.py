"""Hosts that are none: network namespaces joined by a bridge, each process with its own files.

Needs root and iproute2. A process in one has an address of its own, sees nobody's /tmp or /dev/shm,
and its cable can be pulled.
"""

from __future__ import annotations

import ctypes
import json
import multiprocessing
import os
import subprocess
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

NEW_NETWORK, NEW_MOUNTS = 0x40000000, 0x00020000
FORK = multiprocessing.get_context("fork")


def ip(*words: str) -> str:
    """Run iproute2's `ip`."""
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


class Network:
    """Namespaces `PREFIX0`, ... with addresses 10.77.0.1, ..., and a switch between them."""

    def __init__(self, number: int) -> None:
        prefix = f"munro{os.getpid()}x"
        self.names = [f"{prefix}{i}" for i in range(number)]
        self._switch = f"{prefix}sw"
        ip("netns", "add", self._switch)
        ip("-n", self._switch, "link", "add", "br0", "type", "bridge")
        ip("-n", self._switch, "link", "set", "br0", "up")
        for i, name in enumerate(self.names):
            ip("netns", "add", name)
            ip(
                "link",
                "add",
                "eth0",
                "netns",
                name,
                "type",
                "veth",
                "peer",
                "name",
                f"port{i}",
                "netns",
                self._switch,
            )
            ip("-n", self._switch, "link", "set", f"port{i}", "master", "br0", "up")
            ip("-n", name, "addr", "add", f"{self.address(i)}/24", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")
            ip("-n", name, "link", "set", "lo", "up")

    @staticmethod
    def address(place: int) -> str:
        """Of the namespace at that place."""
        return f"10.77.0.{place + 1}"

    def cable(self, place: int, state: str) -> None:
        """Pull it ("down") at the switch's end, or plug it in again ("up")."""
        ip("-n", self._switch, "link", "set", f"port{place}", state)

    def slow(self, place: int, bytes_a_second: float) -> None:
        """Let no more than that leave the namespace at that place."""
        rate = f"{max(int(8 * bytes_a_second / 1000), 1)}kbit"
        words = ["qdisc", "replace", "dev", "eth0", "root", "tbf", "rate", rate]
        tc = ["tc", "-n", self.names[place], *words, "burst", "512kb", "latency", "100ms"]
        subprocess.run(tc, check=True, capture_output=True, text=True)

    def sent_bytes(self, place: int) -> int:
        """That have left the namespace at that place."""
        (told,) = json.loads(ip("-n", self.names[place], "-s", "-j", "link", "show", "eth0"))
        return int(told["stats64"]["tx"]["bytes"])

    def close(self) -> None:
        """Take everything down."""
        for name in [*self.names, self._switch]:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def _enter(namespace: str) -> None:
    """Move this process to a host of its own."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open(f"/var/run/netns/{namespace}") as file:
        if libc.setns(file.fileno(), NEW_NETWORK) or libc.unshare(NEW_MOUNTS):
            raise OSError(ctypes.get_errno(), "cannot enter the namespace")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    for folder in ("/tmp", "/dev/shm"):
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], check=True)


@dataclass(slots=True)
class Peer:
    """A process on such a host that answers one message after another."""

    process: Any
    pipe: Any

    @classmethod
    def start(cls, namespace: str, make: Callable[[], Callable[..., Any]]) -> Peer:
        """Fork it, here where the namespace is "".

        `make` runs in it before the host's own files are all that it sees.
        """
        ours, theirs = FORK.Pipe()
        process = FORK.Process(target=_serve, args=(namespace, make, theirs), daemon=True)
        process.start()
        theirs.close()
        return cls(process, ours)

    def tell(self, *message: Any) -> None:
        """Ask, and do not wait."""
        self.pipe.send(message)

    def hear(self, within_s: float) -> Any:
        """The answer; TimeoutError where there is none in time, EOFError where it died."""
        if not self.pipe.poll(within_s):
            raise TimeoutError(f"no answer within {within_s} s")
        answer = self.pipe.recv()
        if isinstance(answer, str) and answer.startswith("Traceback"):
            raise RuntimeError(answer)
        return answer

    def kill(self) -> None:
        """End it as a lost machine does."""
        self.process.kill()
        self.process.join()


def _serve(namespace: str, make: Callable[[], Callable[..., Any]], pipe: Any) -> None:
    try:
        # the model's folder is read before the host's own /tmp hides it
        work = make()
        if namespace:
            _enter(namespace)
        while True:
            message = pipe.recv()
            try:
                pipe.send(work(*message))
            except BaseException:  # noqa: BLE001 - it is raised where somebody can hear it
                pipe.send(traceback.format_exc())
    except EOFError:
        os._exit(0)
    except BaseException:  # noqa: BLE001 - likewise
        pipe.send(traceback.format_exc())
        os._exit(1)
