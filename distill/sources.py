"""Runs as sources of traces: which of their steps, and the index of those."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from munro.distill.select import Index, steps_in
from munro.envs.types import Ending
from munro.rollout.store.store import RolloutStore

PLAIN = {
    "step": "step",
    "place": "index",
    "attempt": "attempt",
    "solved": "solved",
    "reward": "reward_total",
    "tokens": "num_tokens",
}
"""Columns of the index that are columns of the store."""
COLUMNS = (*PLAIN.values(), "env", "task_id", "ending")
KINDS: dict[str, type[np.generic]] = {
    "source": np.int16,
    "step": np.int32,
    "place": np.int64,
    "attempt": np.int32,
    "prompt": np.int32,
    "solved": np.bool_,
    "truncated": np.bool_,
    "reward": np.float32,
    "tokens": np.int32,
}


class CannotDistill(ValueError):
    """These traces, this base or this place will not do; says why, in one sentence."""

    is_sentence = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A run's traces.

    Example:
        Source(run=Path("runs/stem"), name="stem", weight=0.56, first_step=200, last_step=400)
    """

    run: Path
    """The run's folder; reading needs no lock."""
    name: str
    """What weights and filters call it; unique among the sources."""
    weight: float = 1.0
    """Share in a mixture of several, of samples or tokens; they need not add up to 1."""
    first_step: int | None = None
    """First step of the climb whose traces may be taken; where it or `last_step` is given,
    `select.window` is not asked."""
    last_step: int | None = None
    """Last such step, for example the last one before a collapse."""


def told_to_template(source: Source) -> dict[str, Any]:
    """What the run's chat template was told (`rollout.template_args`); nothing where it says so."""
    try:
        config = tomllib.loads((source.run / "config.toml").read_text(encoding="utf-8"))
        return dict(config["rollout"]["template_args"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def stored_steps(source: Source, window: tuple[float, float]) -> list[int]:
    """Steps of the source that traces are taken from.

    Raises:
        CannotDistill: there are none.
    """
    stored = RolloutStore(source.run / "rollouts").steps()
    if not stored:
        raise CannotDistill(
            f"{source.run} holds no rollouts: name the folder of a run that has climbed a step."
        )
    if source.first_step is None and source.last_step is None:
        found = steps_in(stored, window)
        asked = f"select.window = {list(window)}"
    else:
        first = stored[0] if source.first_step is None else source.first_step
        last = stored[-1] if source.last_step is None else source.last_step
        found = [step for step in stored if first <= step <= last]
        asked = f"steps {first} to {last}"
    if not found:
        raise CannotDistill(
            f"{asked} of {source.run} holds no checkpoint: it has rollouts of steps "
            f"{stored[0]} to {stored[-1]}. Widen the window."
        )
    return found


def stores_of(
    source: Source, steps: Sequence[int], *, dropped: bool
) -> Iterator[tuple[RolloutStore, list[int]]]:
    """Where traces of these steps are, and which of the steps are there.

    Args:
        source: a run.
        steps: of what it was trained on.
        dropped: what its gates dropped on the way to those steps counts too.
    """
    yield RolloutStore(source.run / "rollouts"), list(steps)
    if dropped:
        beside = RolloutStore(source.run / "dropped")
        yield beside, sorted(set(steps) & set(beside.steps()))


def read_index(
    sources: Sequence[Source],
    steps: Sequence[Sequence[int]],
    *,
    dropped: bool = False,
    on_cut: Callable[[str], None] | None = None,
) -> Index:
    """The index of these steps of the sources; nothing but its columns is read.

    Args:
        sources: runs.
        steps: for each of them.
        dropped: see `stores_of`.
        on_cut: see `RolloutStore.batches`.

    Raises:
        StoreError: a file is damaged.
    """
    parts: list[dict[str, NDArray[Any]]] = []
    prompts: dict[str, int] = {}
    for number, (source, wanted) in enumerate(zip(sources, steps, strict=True)):
        for store, there in stores_of(source, wanted, dropped=dropped):
            for batch in store.batches(COLUMNS, steps=there, on_cut=on_cut):
                parts.append(_columns(batch, number, prompts))
    return Index(
        **{
            name: np.concatenate([np.zeros(0, kind), *(part[name] for part in parts)])
            for name, kind in KINDS.items()
        },
        sources=tuple(source.name for source in sources),
        prompts=tuple(prompts),
    )


def _columns(
    batch: pa.RecordBatch, source: int, prompts: dict[str, int]
) -> dict[str, NDArray[Any]]:
    """The index's columns of a batch; prompts that are new get the next numbers."""
    env, task = (batch.column(name) for name in ("env", "task_id"))
    environments, tasks = env.dictionary.to_pylist(), task.dictionary.to_pylist()
    pairs = env.indices.to_numpy().astype(np.int64) * len(tasks) + task.indices.to_numpy()
    unique, inverse = np.unique(pairs, return_inverse=True)
    codes = np.array(
        [
            prompts.setdefault(
                f"{environments[pair // len(tasks)]}\x1f{tasks[pair % len(tasks)]}", len(prompts)
            )
            for pair in unique.tolist()
        ],
        np.int32,
    )
    ending = batch.column("ending")
    is_answer = np.array([end == Ending.ANSWERED for end in ending.dictionary.to_pylist()], bool)
    found = {
        "source": np.full(len(batch), source),
        "prompt": codes[inverse],
        "truncated": ~is_answer[ending.indices.to_numpy()],
    }
    for name, column in PLAIN.items():
        found[name] = batch.column(column).to_numpy(zero_copy_only=False)
    return {name: found[name].astype(kind) for name, kind in KINDS.items()}
