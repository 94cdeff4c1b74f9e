"""Runs the numerical tests as on several processors, and says how each went.

    python -m tests.cpus [--quick] [arguments of pytest]

torch, oneMKL, oneDNN and NumPy each choose their kernels by what the processor can do, and may be
told to make do with less: that is another processor, as far as rounding goes. Each capability is
run with one thread and with two, which cut sums in different places. `--quick` takes half of the
pairs, two files at a time, without the tests that start Ray or vLLM: a minute or two.
"""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import product
from time import monotonic

import torch

ORDER = ("default", "avx2", "best")
THREADS = (1, 2)
QUICK = (("default", 1), ("avx2", 2), ("best", 1))
LIMITS = {
    "default": {"ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_CBWR": "COMPATIBLE"},
    "avx2": {"ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_CBWR": "AVX2"},
    "best": {},
}


def capabilities() -> list[str]:
    """What this processor can stand for."""
    best = torch.backends.cpu.get_cpu_capability()
    if best == "DEFAULT":
        return ["best"]
    return [name for name in ORDER if not (name == "avx2" and best == "AVX2")]


def disabled_in_numpy(capability: str) -> str:
    """The features, of those that NumPy chooses by, which a lesser processor lacks."""
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

    lacks = {"default": "", "avx2": "AVX512", "best": "none"}[capability]
    return " ".join(name for name in __cpu_dispatch__ if __cpu_features__[name] and lacks in name)


def environment(capability: str, threads: int) -> dict[str, str]:
    """Variables under which a process computes as on a processor of this capability."""
    asked = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    asked |= LIMITS[capability] | {"NPY_DISABLE_CPU_FEATURES": disabled_in_numpy(capability)}
    if capability != "best":
        asked["ATEN_CPU_CAPABILITY"] = capability
    return {name: value for name, value in asked.items() if value}


def main(arguments: list[str]) -> int:
    """Every capability with every number of threads; 1 when any test failed in any."""
    quick = "--quick" in arguments
    others = [argument for argument in arguments if argument != "--quick"]
    can = capabilities()
    pairs = [pair for pair in (QUICK if quick else product(ORDER, THREADS)) if pair[0] in can]
    chosen = "numeric and not slow and not gpu" + (" and not ray and not vllm" if quick else "")
    pytest = [sys.executable, "-m", "pytest", "-q", "-m", chosen, "-p", "no:cacheprovider"]
    pytest += ["-n", "2", "--dist", "loadfile"] if quick else []
    told = []
    for capability, threads in pairs:
        title = f"{capability}, {threads} thread{'s' * (threads > 1)}"
        say(f"=== as on a processor with {title}")
        began = monotonic()
        variables = os.environ | environment(capability, threads)
        done = subprocess.run([*pytest, *others], env=variables, check=False)
        verdict = "ok" if done.returncode == 0 else f"FAILED, exit {done.returncode}"
        told.append((f"{title:<20} {verdict} in {monotonic() - began:.0f} s", done.returncode))
    for line, _ in told:
        say(line)
    return int(any(code for _, code in told))


def say(line: str) -> None:
    """On the terminal, before what a child process says next."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
