"""Makes attempts on a box, and says which of them got out."""

from __future__ import annotations

from collections.abc import Iterable

from munro.rewards.errors import SandboxError
from munro.rewards.sandbox import Outcome, Sandbox
from tests.rewards.sandbox.escapes import Attempt, Host, leaked, source
from tests.rewards.sandbox.escapes_host import FILES, PROC
from tests.rewards.sandbox.escapes_kernel import CALLS, NAMESPACES, NETWORK, RIGHTS
from tests.rewards.sandbox.escapes_runs import BOMBS, PROCESSES
from tests.rewards.sandbox.escapes_verdicts import FORGERIES, LEFT

GROUPS = {
    "files": FILES,
    "/proc and /sys": PROC,
    "network": NETWORK,
    "namespaces": NAMESPACES,
    "rights": RIGHTS,
    "system calls": CALLS,
    "processes": PROCESSES,
    "bombs": BOMBS,
    "forged verdicts": FORGERIES,
    "what is left": LEFT,
}
ATTEMPTS = [attempt for group in GROUPS.values() for attempt in group]


class Undecided(AssertionError):
    """An attempt broke for a reason that proves nothing."""


def evidence(attempt: Attempt, box: Sandbox, host: Host, *, cold: bool = False) -> str:
    """What shows that the attempt got out; nothing where the box held.

    Args:
        cold: start an interpreter by its name, not the one that the back end may keep warm.

    Raises:
        Undecided: the program itself is wrong.
    """
    texts = [source(body, host, attempt.status) for body in (attempt.program, attempt.then) if body]
    outcomes = []
    for text in texts:
        try:
            if cold:
                command = ["python3", "-I", "main.py"]
                files = {"main.py": text}
                ended = box.run(command, files=files, want=attempt.want, limits=attempt.limits)
            else:
                ended = box.run_python(text, want=attempt.want, limits=attempt.limits)
        except SandboxError as failure:
            return f"the sandbox broke: {failure}"
        outcomes.append(ended)
    signs = [sign for ended in outcomes if (sign := _sign(attempt, ended, host))]
    if shown := attempt.shows(outcomes[0], host):
        signs.append(f"the host sees {shown!r}")
    return "; ".join(signs)[:300]


def _sign(attempt: Attempt, ended: Outcome, host: Host) -> str:
    for stream in (ended.stdout, ended.stderr, *ended.files.values()):
        if secret := leaked(stream, host):
            return f"brought out {secret}"
    lines = ended.stdout.splitlines()
    if escaped := [line for line in lines if line.startswith(b"ESCAPED")]:
        return escaped[0].decode(errors="replace")
    was_ended = ended.limit is not None or ended.status < 0
    if not was_ended and ended.status != attempt.status:
        if ended.status == 1 and b"Error" in ended.stderr:
            raise Undecided(f"{attempt.name}: {ended.stderr.decode(errors='replace')[-600:]}")
        return f"status {ended.status} though it exited with {attempt.status}"
    return ""


def sweep(
    attempts: Iterable[Attempt], box: Sandbox, host: Host, *, cold: bool = False
) -> dict[str, str]:
    """Evidence by the name of the attempt, of those that got out."""
    found = {attempt.name: evidence(attempt, box, host, cold=cold) for attempt in attempts}
    return {name: sign for name, sign in found.items() if sign}
