"""Self-distillation and consolidation: from the traces of runs to a checkpoint that learned them.

    runs ──► index ──► selection ──► filters ──► lessons ──► trainer core ──► checkpoint
                                                                 ^
    base, never the climb's own weights ─────────────────────────┘

MAI-Thinking-1 report, sections 3.1.4 and 3.5. Work happens in `OUT.distilling-KEY` beside the
result, where KEY stands for the steps, the base and the settings: the same call resumes there after
a kill. The result is renamed into place when it is whole.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path

from base_model.checkpoint import Checkpoint
from base_model.packing import Lesson
from base_model.pretrain import METRICS, OnMetrics
from distill.config import DistillConfig
from distill.lessons import TraceLessons, write_lessons
from distill.select import rows_of
from distill.sources import CannotDistill, Source, read_index, stored_steps, traces
from distill.train import train

__all__ = ["CannotDistill", "Source", "distil"]

WHOLE = (0.0, 1.0)


def distil(
    sources: Sequence[Source],
    onto: Path,
    out: Path,
    config: DistillConfig,
    *,
    on_progress: OnMetrics | None = None,
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

    Returns:
        The checkpoint at `out`; its provenance says which runs, steps, filters, counts and seeds.

    Raises:
        CannotDistill: `out` is something else, a window is empty, no trace passes the filters, or
            the base does not fit the traces; one sentence.
        StoreError: a run's rollouts are damaged.
        CheckpointError: the base is incomplete, or the disk refused.
    """
    base = Checkpoint(onto).require()
    steps = [stored_steps(source, config.select.window) for source in sources]
    key = _key(sources, steps, base, config)
    if out.exists():
        return _finished(out, key)
    work = out.with_name(f"{out.name}.distilling-{key}")
    if not (work / "lessons").exists():
        _prepare(sources, steps, config, work / "lessons")
    done = train(
        base,
        TraceLessons(work / "lessons", config.training.seed),
        config.training,
        folder=work,
        provenance={
            "distillation": {
                "key": key,
                "onto": str(onto),
                "sources": [
                    {"run": str(source.run), "name": source.name, "weight": source.weight}
                    | {"first_step": taken[0], "last_step": taken[-1]}
                    for source, taken in zip(sources, steps, strict=True)
                ],
                "config": config.model_dump(mode="json"),
            },
            "base": base.provenance(),
        },
        on_metrics=on_progress,
    )
    if (work / METRICS).exists():
        (work / METRICS).replace(done.path / METRICS)
    done.path.rename(out)
    shutil.rmtree(work)
    return Checkpoint(out)


def _finished(out: Path, key: str) -> Checkpoint:
    found = Checkpoint(out)
    if found.exists and found.provenance().get("distillation", {}).get("key") == key:
        return found
    raise CannotDistill(
        f"{out} exists already and was not made from these runs, this base and these settings: "
        "name another --out, or remove it."
    )


def _prepare(
    sources: Sequence[Source], steps: Sequence[Sequence[int]], config: DistillConfig, folder: Path
) -> None:
    index = read_index(sources, steps)
    weights = {source.name: source.weight for source in sources}
    rule = config.select.model_copy(update={"window": WHOLE})
    chosen = index.taken(rows_of(index, rule, weights if len(sources) > 1 else None))
    if not len(chosen):
        raise CannotDistill(
            f"none of the {len(index)} traces in the window passed: widen select.window, or set "
            'select.outcomes = "all".'
        )
    write_lessons(
        folder,
        (Lesson(trace.token_ids, trace.sampled) for trace in traces(sources, chosen)),
    )


def _key(
    sources: Sequence[Source],
    steps: Sequence[Sequence[int]],
    base: Checkpoint,
    config: DistillConfig,
) -> str:
    """Short name of everything that decides the weights."""
    files = sorted(file for file in base.path.iterdir() if file.is_file())
    decisive = [
        [{**asdict(source), "run": str(source.run.resolve())} for source in sources],
        [list(taken) for taken in steps],
        [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files],
        config.model_dump(mode="json"),
    ]
    return sha256(json.dumps(decisive).encode()).hexdigest()[:10]
