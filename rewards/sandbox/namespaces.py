"""The back end that needs no daemon: namespaces, seccomp, control groups and limits of Linux alone.

    caller's process          outer namespaces                   a run's own namespaces
    NamespaceSandbox  ----->  template, an interpreter  ----->   keeper  ----->  the program
       |   one socket            waits, forks                    holds limits, cleans up
       +------------------------------------------------------------+
           one socket and three pipes a run (or session)

A run sees a read-only root with /usr and what else a language needs, an empty /dev, a /proc with
its own processes only, and a private file system in memory for its working directory (/tmp/work)
and /tmp. It has no network, no capability and no way to one, a user that owns nothing, and a
filter of system calls. Python source runs in a fork of the template, so it does not wait for an
interpreter to start; whatever it does to that interpreter ends with the run.

Limits: processes and threads are counted by the run's own user namespace, memory by a control group
where this process may write one (as root, or where one is delegated). Elsewhere the data of each
process is limited (RLIMIT_DATA, so that interpreters may reserve addresses), and the memory of all
of them is added up 50 times a second. So are CPU seconds everywhere.

A few keepers are made ahead of the runs that need them: entering namespaces and groups takes the
kernel long, though it takes the processor little. What has run a program is never used again.

Works as root and as an ordinary user; needs Linux 5.14 or later. docs/sandbox.md says what an
ordinary user needs on which distribution.
"""

from __future__ import annotations

import atexit
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import munro
from munro.rewards.errors import SandboxError
from munro.rewards.sandbox import cgroups
from munro.rewards.sandbox.cgroups import Group
from munro.rewards.sandbox.disk import ON_DISK_MB, new_disk
from munro.rewards.sandbox.image import Image, check_image, in_use, open_store
from munro.rewards.sandbox.inside import syscalls, wire
from munro.rewards.sandbox.named import resolved
from munro.rewards.sandbox.plan import advice, plan_of
from munro.rewards.sandbox.session import NamespaceSession, request_of
from munro.rewards.sandbox.talk import Answer, Keeper, Request
from munro.rewards.sandbox.types import Files, Limits, Outcome, Sandbox, Session

START_TIMEOUT_S = 120.0
MAX_SPARES = min(8, os.cpu_count() or 1)
"""Keepers that wait for a run, at most."""
Room = wire.Head
"""What `inside.place.make` takes."""
_LAUNCHER = "from munro.rewards.sandbox.inside import launch; launch.main()"


def open_sandbox(
    limits: Limits,
    *,
    python: str | None = None,
    mounts: Mapping[str, str] | None = None,
    packages: Sequence[str] = (),
    preload: Sequence[str] = (),
    store: str | Path | None = None,
    control_groups: bool = True,
) -> NamespaceSandbox:
    """A sandbox of namespaces, tried out once.

    Args:
        limits: of a run that names none.
        python: interpreter to use inside; the one that this one's environment stands on.
        mounts: further folders or files to show, read-only: path on the host to path inside. The
            `bin` in each is searched for programs.
        packages: host folders that Python inside is to import from, read-only.
        preload: modules that the waiting interpreter imports beside the common ones.
        store: folder of the layers that images of sessions are made of; made if it is not there.
            Layers may come into it at any time. No program sees more of it than its image.
        control_groups: False does without them even where they can be had.

    Raises:
        SandboxError: this machine does not let us; says what would mend it.
        ValueError: what is to be shown is not there, or cannot be shown at that place.
    """
    return NamespaceSandbox(
        limits,
        python=python,
        mounts=mounts or {},
        packages=packages,
        preload=preload,
        store=None if store is None else open_store(Path(store)),
        control_groups=control_groups,
    )


class _Template:
    """The processes that wait inside, and the socket that asks them to fork."""

    def __init__(self, plan: wire.Head) -> None:
        self._link, theirs = socket.socketpair()
        self._lock = threading.Lock()
        root = str(Path(munro.__file__).parents[1])
        code = f"import sys; sys.path.insert(0, {root!r}); {_LAUNCHER}"
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-B", "-c", code],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env={"PATH": os.defpath, "LANG": "C.UTF-8"},
                start_new_session=True,
            )
        try:
            self._link.settimeout(START_TIMEOUT_S)
            wire.send(self._link, plan)
            reply, _, _ = wire.receive(self._link)
        except (wire.Closed, TimeoutError):
            raise SandboxError(f"a sandbox would not start: {self._last_words()}") from None
        if "fatal" in reply:
            self.close()
            raise SandboxError(advice(reply["fatal"]))
        self._close_errors()

    def fork(self, room: Room, group: Group | None, disk: int = -1) -> Keeper:
        """A new keeper, which makes itself ready while nobody waits for it.

        Raises:
            wire.Closed: the template is dead.
        """
        ours, theirs = socket.socketpair()
        with theirs, self._lock:
            try:
                entries = [] if group is None else [group.entry]
                descriptors = [theirs.fileno(), *entries, *([disk] if room["has_disk"] else [])]
                wire.send(self._link, room, descriptors=descriptors)
            except BaseException:
                ours.close()
                raise
        return Keeper(ours, group)

    def close(self) -> None:
        """End it and all that it forked. Safe to call twice."""
        self._link.close()
        self.process.kill()
        self.process.wait()
        self._close_errors()

    def _close_errors(self) -> None:
        assert self.process.stderr is not None
        self.process.stderr.close()

    def _last_words(self) -> str:
        self._link.close()
        self.process.kill()
        _, said = self.process.communicate()
        words = said.decode(errors="replace").strip()
        return words.splitlines()[-1] if words else f"exit code {self.process.returncode}"


class NamespaceSandbox(Sandbox):
    """See the module. Made by `open_sandbox`."""

    def __init__(
        self,
        limits: Limits,
        *,
        python: str | None,
        mounts: Mapping[str, str],
        packages: Sequence[str],
        preload: Sequence[str],
        store: Path | None,
        control_groups: bool,
    ) -> None:
        if syscalls.MACHINE not in syscalls.MACHINES or not sys.platform.startswith("linux"):
            raise SandboxError(
                f"the sandbox back end 'namespaces' runs on Linux on {syscalls.MACHINES}, not on "
                f"{sys.platform} on {syscalls.MACHINE}: use the back end 'docker'"
            )
        self.limits = limits
        self._plan = plan_of(python, mounts, packages, preload, store)
        self.store = store
        self._usual_room = self._room(limits)
        self._lock = threading.Lock()
        self._is_closed = False
        self._keepers: set[Keeper] = set()
        self._spares: deque[Keeper] = deque()
        self._has: dict[str, bool] = {}
        # Linux sends the parent-death signal when the *thread* that started a process ends
        self._starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sandbox-starter")
        self._groups: cgroups.Groups | None = None
        atexit.register(self.close)
        try:
            self._template = self._starter.submit(_Template, self._plan).result()
            if control_groups:
                self._groups = self._working_groups()
            if self._groups is None:
                self._try_out()
        except BaseException:
            self.close()
            raise

    def run(
        self,
        command: Sequence[str],
        *,
        files: Files | None = None,
        stdin: bytes | str = b"",
        want: Sequence[str] = (),
        limits: Limits | None = None,
    ) -> Outcome:
        return self._once(self._request(command, files, stdin=stdin, want=want, limits=limits))

    def run_python(
        self,
        source: str,
        *,
        files: Files | None = None,
        stdin: bytes | str = b"",
        want: Sequence[str] = (),
        limits: Limits | None = None,
    ) -> Outcome:
        files = {**(files or {}), "main.py": source}
        return self._once(self._request((), files, stdin=stdin, want=want, limits=limits))

    def converse(
        self,
        command: Sequence[str],
        answer: Answer,
        *,
        files: Files | None = None,
        limits: Limits | None = None,
    ) -> Outcome:
        return self._once(self._request(command, files, answer=answer, limits=limits))

    def converse_python(
        self,
        source: str,
        answer: Answer,
        *,
        files: Files | None = None,
        limits: Limits | None = None,
    ) -> Outcome:
        files = {**(files or {}), "main.py": source}
        return self._once(self._request((), files, answer=answer, limits=limits))

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
        limits, image = limits or self.limits, resolved(image, self.store)
        room = {**self._room(limits, image), "loopback": loopback}
        with (
            in_use(image or Image()),
            self._disk(room, limits) as disk,
            self._keeper(room, disk) as keeper,
        ):
            if image is not None:
                keeper.wait_until_ready()
            session = NamespaceSession(keeper, limits, image, self.store, keeps=keep_processes)
            if files:
                session.run(["true"], files=files)
            yield session
            with suppress(SandboxError):  # then its group is not used again, which is all
                session.end_processes()

    def has(self, program: str) -> bool:
        if program not in self._has:
            source = f"import shutil, sys\nsys.exit(shutil.which({program!r}) is None)"
            limits = replace(Limits(), disk_mb=self.limits.disk_mb)
            self._has[program] = self.run_python(source, limits=limits).is_ok
        return self._has[program]

    def close(self) -> None:
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            keepers = list(self._keepers)
            spares = list(self._spares)
            self._spares.clear()
        for keeper in spares:
            keeper.close()
        for keeper in keepers:
            keeper.kill()
        template = getattr(self, "_template", None)
        if template is not None:
            template.close()
        self._starter.shutdown()
        if self._groups is not None:
            self._groups.close()
        atexit.unregister(self.close)

    def _room(self, limits: Limits, image: Image | None = None) -> Room:
        """What a keeper is told of the file systems that it is to make."""
        if image is None:
            shown: wire.Head | None = None
        else:
            check_image(image, self.store)
            masks = self._plan["masks"] if image.shows_host_packages else ()
            shown = {
                "layers": image.digests,
                "packages": [layer.digest for layer in image.packages],
                "shown": list(enumerate(masks)),
                "is_root": image.is_root,
            }
        has_disk = image is not None and limits.disk_mb > ON_DISK_MB
        return {
            "disk_mb": ON_DISK_MB if has_disk else limits.disk_mb,
            "has_disk": has_disk,
            "inodes": limits.inodes,
            "image": shown,
            "loopback": False,
        }

    def _request(
        self,
        command: Sequence[str],
        files: Files | None,
        *,
        stdin: bytes | str = b"",
        want: Sequence[str] = (),
        answer: Answer | None = None,
        limits: Limits | None = None,
    ) -> Request:
        return request_of(
            command, files, stdin=stdin, want=want, answer=answer, limits=limits or self.limits
        )

    def _once(self, request: Request) -> Outcome:
        with self._keeper(self._room(request.limits)) as keeper:
            return keeper.run(request)

    @contextmanager
    def _disk(self, room: Room, limits: Limits) -> Iterator[int]:
        """Room for what a session writes, where it is too much for memory; -1 where it is not."""
        if not room["has_disk"]:
            yield -1
            return
        folder = self.store or Path(tempfile.gettempdir())
        disk = new_disk(folder, limits.disk_mb, limits.inodes)
        try:
            yield disk
        finally:
            os.close(disk)

    @contextmanager
    def _keeper(self, room: Room, disk: int = -1) -> Iterator[Keeper]:
        """A keeper for the caller alone, and its end."""
        keeper = self._take(room, disk)
        try:
            yield keeper
        finally:
            with self._lock:
                self._keepers.discard(keeper)
            self._let_go(keeper)

    def _take(self, room: Room, disk: int) -> Keeper:
        """A keeper that is ready or about to be, and another one on its way for the next caller."""
        with self._lock:
            if self._is_closed:
                raise SandboxError("this sandbox is closed")
            if self._template.process.poll() is not None:
                self._replace_template()
            is_usual = room == self._usual_room
            keeper = self._spares.popleft() if is_usual and self._spares else self._fork(room, disk)
            self._keepers.add(keeper)
            while is_usual and len(self._spares) < min(len(self._keepers), MAX_SPARES):
                self._spares.append(self._fork(room))
        return keeper

    def _fork(self, room: Room, disk: int = -1) -> Keeper:
        group = None if self._groups is None else self._groups.take()
        try:
            return self._template.fork(room, group, disk)
        except (wire.Closed, TimeoutError):
            self._replace_template()
            return self._template.fork(room, group, disk)

    def _replace_template(self) -> None:
        """A new one, for the one that was there has died, and its keepers with it."""
        self._template.close()
        while self._spares:
            self._let_go(self._spares.popleft())
        self._template = self._starter.submit(_Template, self._plan).result()

    def _let_go(self, keeper: Keeper) -> None:
        keeper.close()
        if keeper.group is not None and keeper.is_sound and self._groups is not None:
            self._groups.give_back(keeper.group)

    def _try_out(self) -> None:
        limits = replace(Limits(), disk_mb=self.limits.disk_mb)
        outcome = self.run_python("print(6 * 7)", limits=limits)
        if outcome.stdout != b"42\n":
            raise SandboxError(f"a sandbox does not run Python: {outcome}")

    def _working_groups(self) -> cgroups.Groups | None:
        """Control groups that a run can indeed enter."""
        self._groups = cgroups.find()
        if self._groups is None:
            return None
        try:
            self._try_out()
        except SandboxError:
            self._replace_template()  # what waits there is to be in a group
            self._groups.close()
            return None
        return self._groups
