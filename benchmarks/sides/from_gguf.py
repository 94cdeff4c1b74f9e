"""A model out of a quantised GGUF file, as a float32 checkpoint folder. Needs `gguf`."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path


def make(name: str, download_gguf: Callable[[Path], Path], template: str = "") -> None:
    """Read the command line's OUT, fetch the model's file and write the folder.

    Args:
        name: of the model, for a person.
        download_gguf: from a folder to write into to the file.
        template: chat template for a file that holds none; "" leaves it without.
    """
    parser = argparse.ArgumentParser(description=f"{name} as a checkpoint folder")
    parser.add_argument("out", type=Path, help="folder to write")
    out: Path = parser.parse_args().out
    if (out / "config.json").exists():
        print(f"{out} is there already")
        return
    if importlib.util.find_spec("gguf") is None:
        sys.exit("gguf is not installed, which reads the model's file: pip install gguf")
    with tempfile.TemporaryDirectory() as folder:
        convert(download_gguf(Path(folder)), out, template)
    print(f"wrote {out}")


def convert(gguf: Path, out: Path, template: str = "") -> None:
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
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    if template and not tokenizer.chat_template:
        print("the file holds no chat template: a plain one is written")
        tokenizer.chat_template = template
    tokenizer.save_pretrained(out)
