"""Which library multiplies float32 matrices on this processor: decided once, by what it is."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch

from munro.kernels.dispatch import VARIABLE, Decision, asked

CPUINFO = Path("/proc/cpuinfo")
INTEL = "GenuineIntel"


@cache
def decision() -> Decision:
    """The twin for this process, and why.

    Raises:
        NoSuchTwin: MUNRO_KERNELS names no twin.
    """
    if asked() == "reference":
        twin, why = "reference", f"{VARIABLE}=reference"
    elif why := obstacle():
        twin = "reference"
    else:
        twin, why = "plain", f"MKL leaves AVX-512 idle on {vendor()}, oneDNN does not"
    return Decision(kernel="products", device="cpu", twin=twin, why=why)


def obstacle() -> str:
    """What stands against oneDNN, or makes it needless; empty where nothing does."""
    if not torch.backends.mkl.is_available():  # type: ignore[no-untyped-call]
        return "torch's products are not MKL's here"
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return "this torch carries no oneDNN"
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return "this torch offers no product by oneDNN"
    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        return "torch finds no AVX-512"
    if not vendor():
        return "the processor does not say who made it"
    if vendor() == INTEL:
        return "MKL takes all that an Intel processor has"
    return ""


@cache
def vendor() -> str:
    """What the processor calls its maker; empty where the system does not tell."""
    try:
        lines = CPUINFO.read_text().splitlines()
    except OSError:
        return ""
    found = (line.partition(":")[2].strip() for line in lines if line.startswith("vendor_id"))
    return next(found, "")
