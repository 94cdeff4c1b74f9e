"""The model's files, made of the pieces that several ranks wrote: `python -m ... FOLDER`.

    state/ ──► one layer after the other ──► transformers' names ──► model*.safetensors

A layer and a file are in memory at a time. It is a process of its own, so that the rank whose
checkpoint it completes does not slow down.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor
from torch.distributed.checkpoint.metadata import TensorStorageMetadata

from munro.base_model.checkpoint import SHARDS, WEIGHTS, CheckpointError
from munro.base_model.sharded import state
from munro.base_model.whole import flush_one

FILE_BYTES = 2 << 30
"""A file is closed once it holds so many."""
LAYER = re.compile(r".*?\.\d+\.")

Weights = Mapping[str, Tensor]


def export_beside(folder: Path, *, is_renamed: bool) -> None:
    """Make the model's files in a process of its own, and wait for it.

    Raises:
        CheckpointError: they could not be made.
    """
    command = [sys.executable, "-m", __name__, str(folder), *(["renamed"] if is_renamed else [])]
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=one_thread, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise CheckpointError(folder, f"its model could not be made of its pieces ({said})")


def export(folder: Path, *, is_renamed: bool) -> None:
    """Make the model's files beside the pieces; what is there under their names is replaced.

    Args:
        folder: holds `state` and config.json.
        is_renamed: transformers' files call or part the weights otherwise than the model does.

    Raises:
        CheckpointError: the disk refused.
    """
    held = {
        name.removeprefix(state.WEIGHTS): one
        for name, one in state.pieces_in(folder).items()
        if name.startswith(state.WEIGHTS)
    }
    translate = _translator(folder) if is_renamed else dict
    files = _Files(folder)
    try:
        for names in _by_layer(held):
            files.add(translate(_read(folder, {name: held[name] for name in names})))
        files.close()
    except (OSError, SafetensorError) as error:
        files.discard()
        raise CheckpointError(folder, f"its model could not be written ({error})") from error


def _by_layer(held: Mapping[str, TensorStorageMetadata]) -> Iterator[list[str]]:
    """Names layer by layer, as what transformers fuses lies within one; the rest one by one."""

    def layer(name: str) -> str:
        found = LAYER.match(name)
        return found[0] if found else name

    for _, names in groupby(sorted(held, key=lambda name: (layer(name), name)), key=layer):
        yield list(names)


def _read(folder: Path, held: Mapping[str, TensorStorageMetadata]) -> dict[str, Tensor]:
    made = {name: torch.empty(one.size, dtype=one.properties.dtype) for name, one in held.items()}
    state.read(folder, {f"{state.WEIGHTS}{name}": tensor for name, tensor in made.items()})
    return made


def _translator(folder: Path) -> Callable[[dict[str, Tensor]], Weights]:
    """From the model's names and blocks to those of transformers' files."""
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.core_model_loading import revert_weight_conversion

    import munro.base_model.model.model  # noqa: F401 - makes our own known to transformers

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
    return lambda weights: revert_weight_conversion(model, weights)


class _Files:
    """The files of a model: written under hidden names, each given its own once all are there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[str, Tensor] = {}
        self._parts: list[tuple[Path, list[str]]] = []
        self._num_bytes = 0

    def add(self, weights: Weights) -> None:
        """Further weights."""
        self._open |= weights
        if sum(tensor.nbytes for tensor in self._open.values()) >= FILE_BYTES:
            self._write()

    def close(self) -> None:
        """Give all of them their names; of several the index comes last."""
        if self._open:
            self._write()
        count = len(self._parts)
        where: dict[str, str] = {}
        for number, (part, names) in enumerate(self._parts, start=1):
            name = f"model-{number:05d}-of-{count:05d}.safetensors" if count > 1 else WEIGHTS
            part.rename(self._folder / name)
            where |= dict.fromkeys(names, name)
        if count > 1:
            index = {"metadata": {"total_size": self._num_bytes}, "weight_map": where}
            draft = self._folder / f".{SHARDS}.{os.getpid()}.part"
            draft.write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
            flush_one(draft)
            draft.rename(self._folder / SHARDS)
        flush_one(self._folder)

    def discard(self) -> None:
        """Leave nothing."""
        for part, _ in self._parts:
            part.unlink(missing_ok=True)

    def _write(self) -> None:
        part = self._folder / f".model-{len(self._parts):05d}.{os.getpid()}.part"
        self._parts.append((part, list(self._open)))
        self._num_bytes += sum(tensor.nbytes for tensor in self._open.values())
        contiguous = {name: tensor.contiguous() for name, tensor in self._open.items()}
        save_file(contiguous, part, metadata={"format": "pt"})
        flush_one(part)
        self._open = {}


def main() -> int:
    """Exit status 2, with a sentence, where a person can mend what went wrong."""
    os.nice(19)  # training goes on
    folder = Path(sys.argv[1])
    try:
        export(folder, is_renamed="renamed" in sys.argv[2:])
    except CheckpointError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
