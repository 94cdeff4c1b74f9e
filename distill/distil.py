"""Self-distillation and consolidation: from the traces of runs to a checkpoint that learned them.

    runs ──► index ──► selection ──► filters ──► lessons ──► trainer core ──► checkpoint
                                                                 ^
    base, never the climb's own weights ─────────────────────────┘

MAI-Thinking-1 report, sections 3.1.4 and 3.5. Work happens in `OUT.distilling-KEY` beside the
result, where KEY stands for the steps, the base and the settings: the same call resumes there after
a kill. The result is renamed into place when it is whole.
"""

from __future__ import annotations

import errno
import fcntl
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from munro.base_model.checkpoint import Checkpoint, digest_of
from munro.base_model.hub import identity
from munro.base_model.training.pretrain import METRICS, OnMetrics
from munro.distill.config import DistillConfig
from munro.distill.lessons import TraceLessons
from munro.distill.prepare import Account, prepare, read_account
from munro.distill.sources import CannotDistill, Source, stored_steps
from munro.distill.train import train

__all__ = ["CannotDistill", "Source", "distil", "look"]

LESSONS = "lessons"


def distil(
    sources: Sequence[Source],
    onto: Path,
    out: Path,
    config: DistillConfig,
    *,
    on_progress: OnMetrics | None = None,
    on_account: Callable[[Account], None] | None = None,
) -> Checkpoint:
    """Fine-tune the checkpoint `onto` on traces of the sources, and write the result to `out`.

    Called again with the same arguments it goes on where it was killed; when `out` was finished
    from the same arguments it is returned as it is. On the CPU the same arguments and number of
    threads give the same weights bit for bit. Nothing is written into the runs, and traces that a
    climb stores meanwhile do not change a distillation of earlier steps.

    Args:
        sources: one run, or several whose weights share the selection out.
        onto: folder of the checkpoint to start from: a base that has not climbed.
        out: folder of the result.
        config: which traces, cleaned how, learned how.
        on_progress: told how the training goes, every `config.training.log_every` steps.
        on_account: told what was selected, before the training begins.

    Returns:
        The checkpoint at `out`; its provenance says which runs, steps, filters, counts and seeds.

    Raises:
        CannotDistill: `out` is something else or is being made, a window is empty, no trace passes
            the filters, the base does not fit the traces, or the disk is full; one sentence.
        StoreError: a run's rollouts are damaged.
        CheckpointError: the base is incomplete, or the disk refused.
        DataError: evaluation files or the mixture to mix in cannot be read.
    """
    base = _checked(sources, onto)
    key = _key(sources, base, config)
    with _held(out), _disk_told(out):
        if out.exists():
            return _finished(out, key)
        work = out.with_name(f"{out.name}.distilling-{key}")
        work.mkdir(parents=True, exist_ok=True)
        made = (work / LESSONS).exists()
        account = (
            read_account(work / LESSONS) if made else prepare(sources, base, config, work / LESSONS)
        )
        if on_account is not None:
            on_account(account)
        done = train(
            base,
            TraceLessons(work / LESSONS, config.training.seed),
            config.training,
            config.replay,
            folder=work,
            provenance=_provenance(key, base, config, account),
            on_metrics=on_progress,
        )
        if (work / METRICS).exists():  # or a killed process has moved it already
            (work / METRICS).replace(done.path / METRICS)
        done.path.rename(out)
        shutil.rmtree(work)
    return Checkpoint(out)


def look(sources: Sequence[Source], onto: Path, config: DistillConfig) -> Account:
    """What `distil` would select and drop; nothing is trained, nothing kept.

    Raises:
        As `distil`.
    """
    base = _checked(sources, onto)
    with TemporaryDirectory(prefix="munro-distil-") as scratch:
        return prepare(sources, base, config, Path(scratch) / LESSONS)


def _checked(sources: Sequence[Source], onto: Path) -> Checkpoint:
    names = [source.name for source in sources]
    if not names:
        raise CannotDistill("no run is named: give at least one.")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise CannotDistill(f"two runs have the name {twice[0]}: give each its own.")
    for source in sources:
        if not source.weight > 0:
            raise CannotDistill(f"{source.name} has weight {source.weight:g}: leave it out.")
    return Checkpoint(onto).require()


def _provenance(
    key: str, base: Checkpoint, config: DistillConfig, account: Account
) -> dict[str, Any]:
    return {
        "distillation": {
            "key": key,
            "onto": str(base.path),
            "hub": identity(base.path),
            "runs": [asdict(taken) for taken in account.runs],
            "cut": list(account.cut),
            "traces": account.traces,
            "tokens": account.tokens,
            "config": config.model_dump(mode="json"),
        },
        "base": base.provenance(),
    }


def _finished(out: Path, key: str) -> Checkpoint:
    found = Checkpoint(out)
    if found.exists and found.provenance().get("distillation", {}).get("key") == key:
        return found
    raise CannotDistill(
        f"{out} exists already and was not made from these runs, this base and these settings: "
        "name another --out, or remove it."
    )


@contextmanager
def _held(out: Path) -> Iterator[None]:
    """Be the one process that makes `out`; the kernel lets go however this one ends."""
    out.parent.mkdir(parents=True, exist_ok=True)
    file = out.with_name(f".{out.name}.lock")
    with file.open("w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CannotDistill(
                f"{out} is being made by another process: wait for it, stop it, or name another "
                "--out."
            ) from None
        yield


@contextmanager
def _disk_told(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise CannotDistill(
            f"no space is left for {out}: free some of that disk; the same command goes on where "
            "it stopped."
        ) from error


def _key(sources: Sequence[Source], base: Checkpoint, config: DistillConfig) -> str:
    """Short name of everything that decides the weights."""
    steps = [stored_steps(source, config.select.window) for source in sources]
    decisive = [
        [{**asdict(source), "run": str(source.run.resolve())} for source in sources],
        steps,
        [[file.name, digest_of(file)] for file in sorted(base.path.iterdir()) if file.is_file()],
        config.model_dump(mode="json"),
    ]
    return sha256(json.dumps(decisive).encode()).hexdigest()[:10]
