"""Every wait has a name and a deadline, and the whole run can be asked who waits for what.

    async with waiting("grade of arithmetic/17+25", 60): ...   overrun: cancelled, then `Stalled`
    with waiting("learner step 12", 600) as wait:              overrun: `Stalled`, if what is inside
        ray.get(reference, timeout=wait.remaining)             takes a time limit and keeps it

Each process publishes what it waits for to `<run>/waits/<process>.json`, about once a second, from
a thread that needs no event loop: so it still speaks when everything else hangs. `read_waits`
collects the files, and `dump_stacks` writes where every process stands.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import faulthandler
import getpass
import hashlib
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

SHOWN = 20
"""Waits that one process lists in its file: the oldest ones. The count is of all."""
EARLY_S = 0.05
"""How much sooner than our clock another's may say that a time limit is over: Ray's does."""
HEARTBEAT_S = 5.0
"""A file this much older than its writer's clock means that even the publishing thread is stuck."""


class Stalled(Exception):
    """A wait overran its deadline.

    Example:
        Stalled("driver", "weights of version 7 on server 1", 120.0)
    """

    is_sentence = True

    def __init__(self, who: str, what: str, seconds: float) -> None:
        super().__init__(f"{who} waited {seconds:.0f} s for {what}, which did not come")
        self.who = who
        self.what = what
        self.seconds = seconds

    def __reduce__(self) -> tuple[type[Stalled], tuple[str, str, float]]:
        return Stalled, (self.who, self.what, self.seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """One wait that is not over."""

    what: str
    since: float
    """Seconds since the epoch."""
    deadline_s: float
    """Longest it may take, from `since`."""

    @property
    def remaining(self) -> float:
        """Seconds left before the deadline, at least 0."""
        return max(0.0, self.since + self.deadline_s - time.time())


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessWaits:
    """What one process of a run waits for."""

    process: str
    pid: int
    host: str
    at: float
    """When it said so, seconds since the epoch."""
    num_waits: int
    waits: tuple[Wait, ...]
    """The oldest ones."""
    dumps_to: str = ""
    """File that `SIGUSR1` makes it write its stacks to; empty where it was not registered."""

    @property
    def is_alive(self) -> bool:
        """The process exists; processes of other hosts are taken to be alive."""
        return self.host != socket.gethostname() or _exists(self.pid)

    @property
    def is_overdue(self) -> bool:
        """It waits longer than it meant to."""
        return any(wait.remaining == 0 for wait in self.waits)


class _Registry:
    """The waits of this process, and the thread that publishes them."""

    def __init__(self) -> None:
        self.process = f"process-{os.getpid()}"
        self.changed = threading.Event()
        self._waits: dict[int, Wait] = {}
        self._tickets = itertools.count()
        self._publishing: _Publisher | None = None

    def enter(self, wait: Wait) -> int:
        ticket = next(self._tickets)
        self._waits[ticket] = wait
        self.changed.set()
        return ticket

    def leave(self, ticket: int) -> None:
        del self._waits[ticket]
        self.changed.set()

    def current(self) -> list[Wait]:
        # a copy in one step: other threads come and go meanwhile
        return sorted(self._waits.values(), key=lambda wait: wait.since)

    def publish(self, publisher: _Publisher | None) -> None:
        if self._publishing is not None:
            self._publishing.stop()
        self._publishing = publisher
        if publisher is not None:
            publisher.start()


_registry = _Registry()


class waiting:  # noqa: N801 - reads as a statement: `with waiting(...)`
    """Name a wait and bound it; for `with` and for `async with`.

    Args:
        what: names what is waited for, for a person: "grade of arithmetic/17+25".
        deadline_s: seconds after which it is a stall.

    Raises:
        Stalled: the deadline passed. `async with` cancels what is inside. A plain `with` cannot:
            give the call inside `timeout=wait.remaining`; its `TimeoutError` becomes the stall.
    """

    def __init__(self, what: str, deadline_s: float) -> None:
        self._wait = Wait(what=what, since=time.time(), deadline_s=deadline_s)
        self._ticket = -1
        self._timeout: asyncio.Timeout | None = None

    def __enter__(self) -> Wait:
        self._ticket = _registry.enter(self._wait)
        return self._wait

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        _registry.leave(self._ticket)
        if kind is None or not issubclass(kind, TimeoutError):
            return
        if self._wait.remaining <= EARLY_S:
            raise self._stall() from error

    async def __aenter__(self) -> Wait:
        self._timeout = asyncio.timeout(self._wait.deadline_s)
        await self._timeout.__aenter__()
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._timeout is not None, "__aexit__ without __aenter__"
        _registry.leave(self._ticket)
        try:
            await self._timeout.__aexit__(kind, error, trace)
        except TimeoutError:
            raise self._stall() from error

    def _stall(self) -> Stalled:
        return Stalled(_registry.process, self._wait.what, time.time() - self._wait.since)


def here(run_folder: str | Path) -> Path:
    """The run's folder where this node sees it, else a folder of the node's own in its place."""
    return Path(run_folder) if Path(run_folder).is_dir() else own(run_folder)


def own(path: str | Path) -> Path:
    """This node's folder for what belongs to a path that it may not see; not made."""
    known = hashlib.sha256(str(Path(path).absolute()).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"munro-{getpass.getuser()}" / known


def publish(run_folder: str | Path, process: str, *, every_s: float = 1.0) -> Callable[[], None]:
    """Say from now on what this process waits for, and dump its stacks when `SIGUSR1` comes.

    Args:
        run_folder: the run's folder; `waits/` and `stacks/` in it are made.
        process: name of this process, unique in the run: "driver", "server-0".
        every_s: shortest time between two writings.

    Returns:
        A function that stops it and removes the file. It is also called at exit; what is killed
        leaves its file behind, whose pid then says that the process is gone.
    """
    publisher = _Publisher(Path(run_folder), process, every_s)
    _registry.process = process
    _registry.publish(publisher)

    def stop() -> None:
        if _registry._publishing is publisher:
            _registry.publish(None)

    atexit.register(stop)
    return stop


class _Publisher:
    """Writes this process's waits to its file until stopped."""

    def __init__(self, run_folder: Path, process: str, every_s: float) -> None:
        self._process = process
        self._every_s = every_s
        self._file = run_folder / "waits" / f"{process}.json"
        self._stacks = run_folder / "stacks" / f"{process}-{os.getpid()}.txt"
        self._stacks_file: IO[str] | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="waits")

    def start(self) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._stacks.parent.mkdir(parents=True, exist_ok=True)
        self._stacks_file = self._stacks.open("a")
        faulthandler.register(signal.SIGUSR1, file=self._stacks_file, all_threads=True)
        self._write()
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        _registry.changed.set()
        self._thread.join(timeout=5)
        # the signal stays registered, because its default would end the process
        if self._stacks.exists() and self._stacks.stat().st_size == 0:
            self._stacks.unlink()
        self._file.unlink(missing_ok=True)

    def _run(self) -> None:
        while not self._stopping.is_set():
            _registry.changed.wait(timeout=HEARTBEAT_S)
            _registry.changed.clear()
            if not self._stopping.is_set():
                self._write()
                self._stopping.wait(self._every_s)

    def _write(self) -> None:
        waits = _registry.current()
        said = ProcessWaits(
            process=self._process,
            pid=os.getpid(),
            host=socket.gethostname(),
            at=time.time(),
            num_waits=len(waits),
            waits=tuple(waits[:SHOWN]),
            dumps_to=str(self._stacks),
        )
        fresh = self._file.with_name(f".{self._file.name}.{os.getpid()}")
        # a full disk must not end the run from here: whoever writes results will say so
        with contextlib.suppress(OSError):
            fresh.write_text(json.dumps(asdict(said)))
            fresh.replace(self._file)


def read_waits(run_folder: str | Path) -> list[ProcessWaits]:
    """What every process of the run waits for, by name; those that were killed included."""
    said = []
    for file in sorted((Path(run_folder) / "waits").glob("*.json")):
        try:
            fields = json.loads(file.read_text())
        except FileNotFoundError:
            continue  # it ended between listing and reading
        fields["waits"] = tuple(Wait(**wait) for wait in fields["waits"])
        said.append(ProcessWaits(**fields))
    return said


def dump_stacks(
    run_folder: str | Path, pids: Sequence[int] = (), *, deadline_s: float = 20.0
) -> list[Path]:
    """Write where every process of the run stands into `<run>/stacks/`.

    Processes that `publish` are asked to write their own Python stacks (no rights needed, works in
    a process stuck in C). Where py-spy is installed and allowed, it adds its view of each pid.

    Args:
        run_folder: the run's folder.
        pids: further processes of this host, for py-spy.
        deadline_s: longest wait for each.

    Returns:
        The files that were written.
    """
    folder = Path(run_folder) / "stacks"
    folder.mkdir(parents=True, exist_ok=True)
    here = [
        said
        for said in read_waits(run_folder)
        if said.host == socket.gethostname() and said.is_alive and said.dumps_to
    ]
    written = [
        path for said in here if (path := _ask_for_stacks(said, min(deadline_s, 5.0))) is not None
    ]
    for pid in dict.fromkeys([*(said.pid for said in here), *pids]):
        seen = _py_spy(pid, folder / f"py-spy-{pid}.txt", deadline_s)
        written.extend([seen] if seen is not None else [])
    return written


def _ask_for_stacks(said: ProcessWaits, deadline_s: float) -> Path | None:
    path = Path(said.dumps_to)
    before = path.stat().st_size if path.exists() else 0
    try:
        os.kill(said.pid, signal.SIGUSR1)
    except (ProcessLookupError, PermissionError):
        return None
    end = time.monotonic() + deadline_s
    size = before
    while time.monotonic() < end:
        time.sleep(0.05)
        grown = path.stat().st_size if path.exists() else 0
        if grown > before and grown == size:
            return path
        size = grown
    return None


def _py_spy(pid: int, path: Path, deadline_s: float) -> Path | None:
    program = shutil.which("py-spy")
    if program is None or pid == os.getpid():
        return None
    try:
        done = subprocess.run(
            [program, "dump", "--pid", str(pid)],
            capture_output=True,
            timeout=deadline_s,
            check=True,
        )
    except (subprocess.SubprocessError, OSError):
        return None
    path.write_bytes(done.stdout)
    return path


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
