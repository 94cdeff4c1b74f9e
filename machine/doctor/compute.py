"""torch, what it makes of the processor, and GPUs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

from munro.machine.doctor.libraries import version_of
from munro.machine.doctor.types import Finding, gib

BESIDE = ("torchvision", "torchaudio", "torchcodec")
"""Their CUDA builds fail to import beside a CPU torch, and take other imports with them."""


def check() -> Iterator[Finding]:
    """torch and the devices that it finds; the import takes seconds."""
    try:
        import torch
    except (ImportError, OSError, RuntimeError) as error:
        why = " ".join(str(error).split())
        yield Finding(
            name="torch",
            found=f"cannot be imported ({why})",
            level="broken",
            cost="nothing can be trained: pip install torch, see docs/installing.md",
        )
        return
    yield Finding(
        name="torch",
        found=f"{torch.__version__}, CPU capability {torch.backends.cpu.get_cpu_capability()}, "
        f"{torch.get_num_threads()} threads",
    )
    yield from _clash(torch)
    yield from _gpus(torch)


def _clash(torch: Any) -> Iterator[Finding]:
    wrong = [
        name
        for name in BESIDE
        if (version := version_of(name)) and torch.version.cuda is None and "+cpu" not in version
    ]
    if wrong:
        yield Finding(
            name="torch",
            found=f"stands beside {', '.join(wrong)}, built for CUDA",
            level="broken",
            cost=f"imports fail (torchvision::nms): pip uninstall -y {' '.join(wrong)}",
        )


def _gpus(torch: Any) -> Iterator[Finding]:
    if not torch.cuda.is_available():
        if shutil.which("nvidia-smi") is not None:
            yield Finding(
                name="GPUs",
                found="nvidia-smi is there, but torch reaches no GPU",
                level="missing",
                cost="all runs on the CPU: install the CUDA build of torch, or the driver",
            )
        else:
            yield Finding(
                name="GPUs",
                found="none",
                level="missing",
                cost="models of millions of parameters, not of billions",
            )
        return
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        yield Finding(
            name=f"GPU {index}",
            found=f"{torch.cuda.get_device_name(index)}, {gib(total)}, {gib(free)} free",
        )
