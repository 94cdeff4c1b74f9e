"""Which of each kernel's twins runs here, and why that one."""

from __future__ import annotations

from collections.abc import Iterator

from munro.machine.doctor.types import Finding


def check() -> Iterator[Finding]:
    """A line a kernel; nothing where torch, without which none runs, cannot be imported."""
    try:
        from munro.kernels import dispatch
    except (ImportError, OSError, RuntimeError):
        return  # said by the family that looks at torch
    try:
        decisions = dispatch.report()
    except dispatch.NoSuchTwin as error:
        yield Finding(
            name="kernels",
            found="none can be chosen",
            level="broken",
            cost=str(error),
        )
        return
    for one in decisions:
        yield Finding(name="kernel", found=f"{one.kernel}: {one.twin} on {one.device}, {one.why}")
