"""How new weights travel from the learner to the engines: the writing side.

    learner ──► publish ──► /dev/shm/…/weights-000007.safetensors ──► WeightSource ──► engines
                       └──► latest.json, for an engine that starts later

The way that works everywhere: a file in shared memory. It serves GPUs of the same node too, through
host memory. Without a file, from node to node, weights go by `munro.rollout.transfer`, each rank
sending what it holds; from GPU to GPU also by `munro.rollout.vllm.sending`.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import psutil

from munro.rollout.engine import WeightSource

if TYPE_CHECKING:
    from torch import Tensor

SHARED_MEMORY = Path("/dev/shm")
POINTER = "latest.json"


class NotPublished(Exception):
    """New weights found no room; the message says where, how much, and what can be done."""

    is_sentence = True


class WeightTransfer(Protocol):
    """Makes a version of the policy available to every engine."""

    @property
    def through_host(self) -> bool:
        """It wants tensors in the host's memory, and not on the learner's device."""
        ...

    def at(self, host: str) -> WeightTransfer:
        """The same, for a learner whose first process others reach by that address."""
        ...

    def publish(self, named_tensors: Iterable[tuple[str, Tensor]], version: int) -> WeightSource:
        """Make these weights readable as `version`; returns once they are."""
        ...

    def leave(self) -> None:
        """The learner's process begins anew: end what only it needed."""
        ...

    def settle(self) -> None:
        """All engines have read what was published last: let go of what only they needed."""
        ...

    def close(self) -> None:
        """Free what was published."""
        ...


class SharedMemoryWeights:
    """Weights as safetensors files in a folder that lives in memory.

    Example:
        weights = SharedMemoryWeights(place("stem-4711"))
        tensors = checkpoint_tensors(model, model.state_dict())
        source = weights.publish(tensors.items(), version=7)
    """

    through_host = True

    def __init__(self, folder: str | Path, *, keep: int = 2) -> None:
        """Use `folder`, made if need be.

        Args:
            folder: on a file system in memory for speed; see `place`.
            keep: newest versions kept, so that a slow engine finds the one it was told of.
        """
        self._folder = Path(folder)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._keep = keep

    def at(self, host: str) -> SharedMemoryWeights:
        """See `WeightTransfer.at`: a file is found by its path."""
        del host
        return self

    def publish(self, named_tensors: Iterable[tuple[str, Tensor]], version: int) -> WeightSource:
        """Write one file under the tensors' names, then point `latest.json` at it.

        A name that shares its storage with an earlier one (tied embeddings) is left out: every
        reader ties it again. A reader sees a whole file or none.

        Raises:
            NotPublished: the folder is full or gone; the earlier version stays published.
        """
        from safetensors import SafetensorError

        path = self._path(version)
        half = path.with_suffix(".half")
        tensors = plain(named_tensors)
        # before anything is written: what they leave is what the new one takes
        self._remove_oldest(max(self._keep - 1, 1), besides=path)
        try:
            self._write(tensors, half)
            if path.is_dir():
                self._remove(path)
            half.replace(path)
        except (OSError, SafetensorError) as error:
            size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
            raise NotPublished(self._why(version, size, error)) from error
        finally:
            self._remove(half)
        source = WeightSource(path=str(path), version=version)
        pointer = self._folder / f"{POINTER}.half"
        pointer.write_text(json.dumps({"path": source.path, "version": version}))
        pointer.replace(self._folder / POINTER)
        self._remove_oldest(self._keep)
        return source

    def _remove_oldest(self, keep: int, besides: Path | None = None) -> None:
        published = [
            one
            for one in self._folder.glob(f"*-*{self._path(0).suffix}")
            if age(one) >= 0 and one != besides
        ]
        for old in sorted(published, key=age)[:-keep]:
            self._remove(old)

    def _path(self, version: int) -> Path:
        return self._folder / f"weights-{version:06d}.safetensors"

    def _write(self, tensors: dict[str, Tensor], half: Path) -> None:
        from safetensors.torch import save_file

        save_file(tensors, half)

    def _remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def _why(self, version: int, size: int, error: Exception) -> str:
        """One sentence about weights of `size` bytes that could not be written."""
        mend = "Set sync.weights_folder to a folder with room for "
        mend += f"{_in_gb(max(self._keep, 2) * size)} (the newest {self._keep})"
        if self._folder.is_relative_to(SHARED_MEMORY):
            mend += f", or enlarge {SHARED_MEMORY} (a container's: docker run --shm-size)"
        what = f"weights of version {version} ({_in_gb(size)}) could not be written to"
        if not self._folder.is_dir():
            return f"{what} {self._folder}, which is gone. {mend}."
        disk = shutil.disk_usage(self._folder)
        room = f"{_in_gb(disk.free)} of {_in_gb(disk.total)} free"
        cause = str(error).splitlines()[0] if str(error) else type(error).__name__
        return f"{what} {self._folder}: {cause} ({room}). {mend}."

    def leave(self) -> None:
        """Nothing to do: files stay for servers that come later."""

    def settle(self) -> None:
        """Nothing to do: files stay for an engine that comes later."""

    def close(self) -> None:
        """Remove the folder with all it holds."""
        shutil.rmtree(self._folder, ignore_errors=True)


def _in_gb(size: float) -> str:
    """Bytes as a person says them."""
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


def checkpoint_tensors(model: Any, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same weights under the names that the model's checkpoint has, which engines read.

    For most models nothing changes. A mixture of experts that holds its experts as one matrix in
    memory is taken apart again; vLLM would pass over the fused names.

    Args:
        model: the transformers model whose weights they are.
        state: full (unsharded) tensors by the names of its `state_dict`.
    """
    from transformers.core_model_loading import revert_weight_conversion

    return dict(revert_weight_conversion(model, dict(state)))


def latest(folder: str | Path) -> WeightSource | None:
    """The newest version published in `folder`, or None."""
    try:
        pointer = json.loads((Path(folder) / POINTER).read_text())
    except FileNotFoundError:
        return None
    return WeightSource(path=pointer["path"], version=pointer["version"])


def sweep(run: str) -> None:
    """Remove what drivers of the run named `run` left in shared memory when they were killed."""
    for folder in SHARED_MEMORY.glob(f"munro-{run}-*"):
        pid = folder.name.removeprefix(f"munro-{run}-")
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


def place(name: str, *, otherwise: str | Path | None = None) -> Path:
    """A folder for one run's weights: in shared memory where there is any, else in `otherwise`.

    Raises:
        ValueError: there is no shared memory, and no other folder was named.
    """
    if SHARED_MEMORY.is_dir() and os.access(SHARED_MEMORY, os.W_OK):
        return SHARED_MEMORY / f"munro-{name}"
    if otherwise is None:
        raise ValueError(f"{SHARED_MEMORY} cannot be written: name a folder for the weights.")
    return Path(otherwise) / "weights"


def plain(named_tensors: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    """Detached, contiguous CPU tensors by name, each storage once."""
    seen: set[tuple[int, tuple[int, ...]]] = set()
    out: dict[str, Tensor] = {}
    for name, tensor in named_tensors:
        where = (tensor.data_ptr(), tuple(tensor.shape))
        if tensor.numel() and where in seen:
            continue
        seen.add(where)
        out[name] = tensor.detach().to("cpu").contiguous()
    return out


def age(path: Path) -> int:
    """The version in a file's name."""
    with contextlib.suppress(ValueError):
        return int(path.stem.removeprefix("weights-").removeprefix("adapter-"))
    return -1
