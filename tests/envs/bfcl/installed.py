"""The package bfcl-eval itself, taken from the package index once a session of tests."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest

from munro.envs.bfcl.package import VERSION


@cache
def bfcl_eval() -> str:
    """What `data` names. Skips the test that asks where the package cannot be had."""
    spec = importlib.util.find_spec("bfcl_eval")
    if spec is not None and spec.origin is not None:
        return str(Path(spec.origin).parent)
    folder = mkdtemp(prefix="bfcl-")
    wanted = f"bfcl-eval=={VERSION}"
    words = ["pip", "install", "--quiet", "--no-deps", "--target", folder, wanted]
    done = subprocess.run(
        [sys.executable, "-m", *words], capture_output=True, text=True, check=False, timeout=300
    )
    if done.returncode:
        pytest.skip(f"pip does not get {wanted}: {done.stderr.strip().splitlines()[-1:]}")
    return folder
