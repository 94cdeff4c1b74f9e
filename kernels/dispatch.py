"""Which twin of a kernel runs here: decided once a process and kind of device, and shown.

    reference   the definition, in a few lines of torch; holds everything at once
    plain       torch operators alone, by tiles: any device
    fused       kernels of our own in Triton: NVIDIA GPUs from compute capability 8.0

MUNRO_KERNELS=reference|plain|fused, read at the first call, asks for another. A package below this
room is a kernel where it names its `TWINS`; nothing else has to know of it. One that does not go by
the kind of device has a `decision` of its own.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import pkgutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch

import munro.kernels

TWINS = ("reference", "plain", "fused")
VARIABLE = "MUNRO_KERNELS"
LEAST_CAPABILITY = (8, 0)
"""Of a GPU: bfloat16 in its tensor cores."""


class NoSuchTwin(ValueError):
    """What was asked for cannot run here; says why."""

    is_sentence = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What runs, and why.

    Example:
        Decision(kernel="linear_logprob", device="cpu", twin="plain", why="no GPU")
    """

    kernel: str
    device: str
    twin: str
    why: str


def twin(kernel: str, device: torch.device, twins: Sequence[str]) -> str:
    """Name of the twin that runs.

    Args:
        kernel: whose.
        device: where its tensors are.
        twins: those that the kernel has, of `TWINS`.

    Raises:
        NoSuchTwin: MUNRO_KERNELS names none, or one that cannot run here.
    """
    return decided(kernel, device.type, tuple(twins)).twin


@cache
def decided(kernel: str, device: str, twins: tuple[str, ...]) -> Decision:
    """See `twin`; with the reason.

    Raises:
        NoSuchTwin: MUNRO_KERNELS names none, or one that cannot run here.
    """
    wish = asked()
    obstacle = why_not_fused(device)
    if wish == "fused" and "fused" in twins and obstacle:
        raise NoSuchTwin(
            f"{VARIABLE}=fused, but fused kernels cannot run on {device}: {obstacle}. Unset it, or "
            "set it to plain"
        )
    found, why = _best(twins, wish, obstacle)
    return Decision(kernel=kernel, device=device, twin=found, why=why)


def asked() -> str:
    """The twin that MUNRO_KERNELS asks for; empty where it is not set.

    Raises:
        NoSuchTwin: it names none.
    """
    wish = os.environ.get(VARIABLE, "")
    if wish and wish not in TWINS:
        raise NoSuchTwin(
            f"{VARIABLE}={wish} names no twin of a kernel: set it to {', '.join(TWINS[:-1])} or "
            f"{TWINS[-1]}, or leave it unset"
        )
    return wish


def _best(twins: Sequence[str], wish: str, obstacle: str) -> tuple[str, str]:
    if wish in twins:
        return wish, f"{VARIABLE}={wish}"
    # the nearest that there is, from the fastest down
    able = [name for name in TWINS if name in twins and not (name == "fused" and obstacle)]
    found = able[-1]
    if wish:
        return found, f"{VARIABLE}={wish}, which this kernel does not have"
    if found == "fused":
        return found, "Triton and a GPU that it compiles for"
    return found, obstacle if "fused" in twins else "it has no other"


@cache
def why_not_fused(device: str) -> str:
    """What stands against Triton kernels on a kind of device; empty where nothing does."""
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed"
    if os.environ.get("TRITON_INTERPRET") == "1":
        return ""  # Triton's interpreter runs anywhere
    if device == "cpu":
        return "fused kernels are for GPUs"
    if device != "cuda" or torch.version.cuda is None or not torch.cuda.is_available():
        return "fused kernels are for NVIDIA's GPUs"
    capability = torch.cuda.get_device_capability()
    if capability < LEAST_CAPABILITY:
        have, least = (".".join(map(str, one)) for one in (capability, LEAST_CAPABILITY))
        return f"its compute capability is {have}, and they need {least}"
    return ""


def report() -> list[Decision]:
    """What each kernel would run on this machine's fastest kind of device.

    Raises:
        NoSuchTwin: MUNRO_KERNELS names none, or one that cannot run here.
    """
    asked()  # also where everything was decided before it was set
    device = "cuda" if torch.cuda.is_available() else "cpu"
    found = []
    for module in pkgutil.iter_modules(munro.kernels.__path__):
        if not module.ispkg:
            continue
        kernel = importlib.import_module(f"munro.kernels.{module.name}")
        if decide := getattr(kernel, "decision", None):
            found.append(decide())
        elif twins := getattr(kernel, "TWINS", ()):
            found.append(decided(module.name, device, tuple(twins)))
    return found
