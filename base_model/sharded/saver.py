"""Writes checkpoints of several ranks while they train on; one at a time.

    tensors ──► copies on each host ──► a thread of each rank ──► state/ in a hidden draft
    (training waits)                    (training goes on)              │ every rank's word
                             model*.safetensors ◄── rename ◄── commit.json ◄── rank 0

What went wrong behind the training's back is raised at the next `saving`, on every rank.
"""

from __future__ import annotations

import copy
import itertools
import json
import shutil
import socket
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import torch
from torch import Tensor, distributed
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.default_planner import DefaultSavePlanner
from torch.distributed.checkpoint.filesystem import FileSystemWriter
from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions
from torch.distributed.checkpoint.state_dict_saver import save
from transformers import PretrainedConfig
from transformers.conversion_mapping import get_model_conversion_mapping

from munro.base_model.checkpoint import COMMIT, PROVENANCE, STATE, CheckpointError
from munro.base_model.sharded.export import export_beside
from munro.base_model.sharded.stage import Stage
from munro.base_model.whole import draft_of, flush, flush_one, remove_drafts, swap

SEEN_WITHIN_S = 30.0
"""A shared file system may take a while to show what another node wrote."""
MARK = ".begun"
NUMBERS = itertools.count()


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be written, beside the tensors."""

    path: Path
    """Absolute; what stands there is replaced."""
    model: Any
    """A `PreTrainedModel`, asked for its configs only."""
    tokenizer: Callable[[], Any]
    progress: Mapping[str, Any]
    """How far the training has come; anything JSON holds."""
    provenance: Mapping[str, Any] | None = None
    export: Literal["before", "after", "never"] = "after"
    """Whether the model's files are made before the checkpoint gets its name, or when it has it."""
    keep_state: bool = True
    """Without, and exported before, it is a model like any other and nothing to resume from."""


class Saver:
    """One rank's part in writing checkpoints; every rank makes one, and calls it alike.

    Example:
        saver = Saver()
        saver.begin(order, tensors_of(model, optimizer))     # every rank
        saver.saving()                                       # "writing", "exporting", ""
    """

    def __init__(self) -> None:
        # of its own: training's collectives go on meanwhile, and NCCL carries no objects on a host
        self._group = distributed.new_group(backend="gloo")
        self._rank, self._size = distributed.get_rank(), distributed.get_world_size()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._work: Future[None] | None = None
        self._stands = threading.Event()
        # plans are remembered by this: ranks that meet anew must not think that others know theirs
        self._plans = f"munro-{next(NUMBERS)}"

    def begin(self, order: Order, tensors: Mapping[str, Tensor]) -> None:
        """Copy the tensors, once nothing is being written any more, and begin to write.

        Raises:
            CheckpointError: the one before could not be written.
        """
        self.wait()
        self._stands.clear()
        self._work = self._pool.submit(self._write, order, _staged(tensors))

    def saving(self) -> Stage:
        """What is being done: the pieces written, or, the checkpoint standing, its model made.

        Raises:
            CheckpointError: it could not be done.
        """
        if self._work is not None and not self._work.done():
            return "exporting" if self._stands.is_set() else "writing"
        self.wait()
        return ""

    def wait(self) -> None:
        """Until nothing is being done.

        Raises:
            CheckpointError: it could not be done.
        """
        work, self._work = self._work, None
        if work is not None:
            work.result()

    def _write(self, order: Order, staged: dict[str, Tensor]) -> None:
        draft = self._draft(order.path)
        try:
            self._together(order.path, lambda: self._make(order.path, draft))
            self._together(order.path, lambda: _require_seen(draft))
            self._write_pieces(draft / STATE, staged)
            staged.clear()
            self._together(order.path, lambda: self._finish(order, draft))
            self._stands.set()
        except CheckpointException as error:
            first = next(iter(error.failures.values()))[0]
            raise CheckpointError(order.path, f"could not be written ({first})") from error
        finally:
            if self._rank == 0:
                shutil.rmtree(draft, ignore_errors=True)
        if order.export == "after" and self._rank == 0:
            export_beside(order.path, is_renamed=is_renamed(order.model))

    def _write_pieces(self, folder: Path, staged: dict[str, Tensor]) -> None:
        """Done on one rank once it is done on all, flushed to the disk."""
        planner = DefaultSavePlanner(enable_plan_caching=True)
        planner._cached_plans_key = self._plans
        writer = FileSystemWriter(folder, sync_files=True)
        save(staged, storage_writer=writer, planner=planner, process_group=self._group)

    def _together(self, path: Path, do: Callable[[], None]) -> None:
        """Every rank does it; what went wrong on one is raised on all."""
        said = ""
        try:
            do()
        except (OSError, CheckpointError) as error:
            said = str(error.cause if isinstance(error, CheckpointError) else error)
        told = [""] * self._size
        distributed.all_gather_object(told, said, group=self._group)
        if any(told):
            raise CheckpointError(path, f"could not be written ({next(filter(None, told))})")

    def _draft(self, path: Path) -> Path:
        """The same on all ranks, and none that ranks of another life of the run still write to."""
        draft = [draft_of(path, uuid4().hex)]
        distributed.broadcast_object_list(draft, src=0, group=self._group)
        return draft[0]

    def _make(self, path: Path, draft: Path) -> None:
        if self._rank == 0:
            remove_drafts(path)
            (draft / STATE).mkdir(parents=True)
            (draft / MARK).touch()

    def _finish(self, order: Order, draft: Path) -> None:
        """Of rank 0, when every piece is on the disk: all else, `COMMIT`, and the name."""
        if self._rank:
            return
        (draft / MARK).unlink()  # which is gone, and the draft with it, once the run goes on anew
        _write_configs(order.model, draft)
        order.tokenizer().save_pretrained(draft)
        if order.provenance is not None:
            text = json.dumps(dict(order.provenance), indent=2, sort_keys=True)
            (draft / PROVENANCE).write_text(text + "\n", encoding="utf-8")
        if order.export == "before":
            export_beside(draft, is_renamed=is_renamed(order.model))
        if not order.keep_state:
            shutil.rmtree(draft / STATE)
        flush(draft)
        if order.keep_state:
            commit = {
                "ranks": self._size,
                "files": {f.name: f.stat().st_size for f in sorted((draft / STATE).iterdir())},
                "progress": dict(order.progress),
                "is_renamed": is_renamed(order.model),
            }
            (draft / COMMIT).write_text(json.dumps(commit, indent=2) + "\n", encoding="utf-8")
            flush_one(draft / COMMIT)
            flush_one(draft)
        swap(draft, order.path)


def is_renamed(model: Any) -> bool:
    """Whether transformers' files call or part this model's weights otherwise than it does."""
    own = getattr(model, "_weight_conversions", None)
    return bool(get_model_conversion_mapping(model, add_legacy=False) if own is None else own)


def _staged(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies on the host that training does not touch."""
    on_gpu = torch.cuda.is_available()
    options = StagingOptions(
        use_pinned_memory=on_gpu,
        use_shared_memory=False,
        use_async_staging=False,
        use_non_blocking_copy=on_gpu,
    )
    stager = DefaultStager(options)
    try:
        staged: dict[str, Tensor] = stager.stage(dict(tensors))  # type: ignore[assignment]
    finally:
        stager.close()
    return staged


def _require_seen(draft: Path) -> None:
    end = time.monotonic() + SEEN_WITHIN_S
    while not draft.is_dir():
        if time.monotonic() > end:
            raise OSError(
                f"{socket.gethostname()} does not see {draft.parent}, where rank 0 writes: put the "
                "run's folder on a file system that all of the learner's nodes share"
            )
        time.sleep(0.05)


def _write_configs(model: Any, folder: Path) -> None:
    """What `save_pretrained` writes beside the weights."""
    config: PretrainedConfig = copy.deepcopy(model.config)
    config.dtype = str(model.dtype).removeprefix("torch.")
    # FSDP puts a class of its own, named so, in front of a model's
    config.architectures = [type(model).__name__.removeprefix("FSDP")]
    config.save_pretrained(folder)
    if model.can_generate():
        model.generation_config.save_pretrained(folder)
