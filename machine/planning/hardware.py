"""What a plan counts on: a GPU of the table, or what this machine is."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from munro.machine.assumptions.config import HERE, HardwareConfig, kinds
from munro.machine.climb.sizes import gpus_here, machine_bytes
from munro.machine.errors import BadConfig

GB = 1e9
SIDE = 256
"""Of the product that this machine is timed with: too short to be disturbed every time."""
TRIES = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """One GPU and its links, in bytes, bytes a second and operations a second.

    Example:
        hardware_of(HardwareConfig(kind="H100"))
    """

    kind: str
    memory: float
    memory_rate: float
    flops: float
    nvlink: float
    """One way, to the GPUs of its domain."""
    domain: int
    nic: float
    """One way, to those of other domains."""
    host: float
    """One way, to the host's memory."""
    failure_gpu_hours: tuple[float, float]
    """From one failure to the next, at worst and at best."""
    on_gpu: bool = True
    """False where all processes share a host's memory and cores."""

    @property
    def word(self) -> int:
        """Bytes of a number in products and caches."""
        return 2 if self.on_gpu else 4

    def failure_s(self, gpus: int) -> tuple[float, float]:
        """Seconds from one failure to the next among so many, at worst and at best."""
        low, high = self.failure_gpu_hours
        return 3600 * low / gpus, 3600 * high / gpus


def hardware_of(config: HardwareConfig) -> Hardware:
    """The hardware that a plan is for.

    Raises:
        BadConfig: this machine is meant, and its GPUs are none of the table.
    """
    name, known = _named(config.kind)
    row = {key: config.model_dump()[key] or known[key] for key in known}
    return Hardware(
        kind=name,
        memory=row["memory_gb"] * GB,
        memory_rate=row["memory_tb_s"] * 1e12,
        flops=row["tflops"] * 1e12,
        nvlink=row["nvlink_gb_s"] * GB,
        domain=int(row["domain"]),
        nic=row["nic_gb_s"] * GB,
        host=row["host_gb_s"] * GB,
        failure_gpu_hours=config.failure_gpu_hours,
        on_gpu=config.kind != HERE or bool(gpus_here()),
    )


def _named(kind: str) -> tuple[str, dict[str, float]]:
    """How it is called on the page, and its figures."""
    table = kinds()
    if kind != HERE:
        return kind, table[kind]
    gpus = gpus_here()
    if not gpus:
        return "this machine's CPUs, timed just now", _timed()
    said = _gpu_name()
    found = [name for name in table if name in said.upper().replace(" ", "")]
    if not found:
        raise BadConfig(
            f"the GPU here, {said or 'of no name'}, is not in the table of hardware: give "
            f"plan.hardware.kind, one of {', '.join(table)}, and what differs from it"
        )
    name = max(found, key=len)
    return f"{len(gpus)} x {said} here", table[name] | {"memory_gb": min(gpus) / GB}


def _gpu_name() -> str:
    tool = shutil.which("nvidia-smi")
    assert tool is not None, "it has counted them"
    asked = [tool, "--query-gpu=name", "--format=csv,noheader"]
    said = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
    return next(iter(said.splitlines()), "").strip()


def _timed() -> dict[str, float]:
    """What the cores here do, the best of a few tries: other work only ever slows them."""
    left = np.ones((SIDE, SIDE), np.float32)
    large = np.ones(4 << 20, np.uint8)
    product = min(_seconds(lambda: left @ left) for _ in range(TRIES))
    copy = min(_seconds(large.copy) for _ in range(TRIES))
    rate = 2 * large.nbytes / copy
    return {
        "memory_gb": machine_bytes() / GB,
        "memory_tb_s": rate / 1e12,
        "tflops": 2 * SIDE**3 / product / 1e12,
        # what goes from process to process is copied in the one memory
        "nvlink_gb_s": rate / 2 / GB,
        "domain": 1 << 20,
        "nic_gb_s": rate / 2 / GB,
        "host_gb_s": rate / 2 / GB,
    }


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return max(time.perf_counter() - began, 1e-9)
