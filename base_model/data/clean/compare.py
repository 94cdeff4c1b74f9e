"""All sources against each other: which documents stay, and why the others go.

A duplicate stays in the first source of the recipe that has it, there in its first place. Stages
follow each other: what is an exact duplicate is not compared again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from munro.base_model.data.clean.exact import repeated
from munro.base_model.data.clean.neighbours import NOBODY, Compared, join_sketches, survivors
from munro.base_model.data.config import DataConfig, SourceConfig
from munro.base_model.data.parts import save_array
from munro.base_model.data.pool import Pool

COMPARING = ("exact", "fuzzy", "template", "decontaminate")
"""A verdict is a stage's place here plus one; 0 is a document that stays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleaned:
    """A source after cleaning."""

    source: SourceConfig
    files: tuple[Path, ...]
    """`.parquet` file of every part; the features lie beside it."""

    def feature(self, file: Path, name: str) -> Path:
        """The array of one part."""
        return file.with_suffix(f".{name}.npy")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    cleaned: Cleaned
    file: Path
    start: int
    size: int

    def load(self, name: str) -> NDArray[Any]:
        found: NDArray[Any] = np.load(self.cleaned.feature(self.file, name), mmap_mode="r")
        return found


def verdicts(
    sources: Sequence[Cleaned], config: DataConfig, folder: Path, pool: Pool
) -> NDArray[np.uint8]:
    """(D,) why each document of all sources goes, in drop order; 0 for those that stay.

    Leaves `survivor.npy` in `folder`: (D,) the document that stays in place of a duplicate.
    """
    folder.mkdir(parents=True, exist_ok=True)
    some_parts = _parts(sources)
    total = some_parts[-1].start + some_parts[-1].size if some_parts else 0
    verdict_D = np.zeros(total, np.uint8)
    survivor_D = np.full(total, NOBODY, np.int64)
    _exact(some_parts, verdict_D)
    for stage in ("fuzzy", "template"):
        found_D = _near(some_parts, stage, verdict_D, config, folder, pool)
        verdict_D[found_D != NOBODY] = COMPARING.index(stage) + 1
        survivor_D = np.where(found_D != NOBODY, found_D, survivor_D)
    for part in some_parts:
        if part.size and "decontaminate" in part.cleaned.source.stages_in_order:
            span = verdict_D[part.start : part.start + part.size]
            span[(span == 0) & part.load("contaminated")] = COMPARING.index("decontaminate") + 1
    save_array(folder / "survivor.npy", survivor_D)
    return verdict_D


def _parts(sources: Sequence[Cleaned]) -> list[_Part]:
    found, start = list[_Part](), 0
    for cleaned in sources:
        for file in cleaned.files:
            size = len(np.load(cleaned.feature(file, "size"), mmap_mode="r"))
            found.append(_Part(cleaned=cleaned, file=file, start=start, size=size))
            start += size
    return found


def _exact(some_parts: Sequence[_Part], verdict_D: NDArray[np.uint8]) -> None:
    taking = [p for p in some_parts if p.size and "exact" in p.cleaned.source.stages_in_order]
    if not taking:
        return
    digests = np.concatenate([np.asarray(part.load("digest"), np.uint64) for part in taking])
    numbers = np.concatenate([np.arange(part.start, part.start + part.size) for part in taking])
    found = repeated(digests, np.ones(len(digests), np.bool_))
    verdict_D[numbers[found]] = COMPARING.index("exact") + 1


def _near(
    some_parts: Sequence[_Part],
    stage: str,
    verdict_D: NDArray[np.uint8],
    config: DataConfig,
    folder: Path,
    pool: Pool,
) -> NDArray[np.int64]:
    taking = [p for p in some_parts if p.size and stage in p.cleaned.source.stages_in_order]
    if not taking:
        return np.full(len(verdict_D), NOBODY, np.int64)
    alive_D = np.zeros(len(verdict_D), np.bool_)
    for part in taking:
        span = slice(part.start, part.start + part.size)
        # without any n-gram there is nothing to compare
        alive_D[span] = (verdict_D[span] == 0) & (part.load(f"{stage}_counts") > 0)
    alive, sketches = folder / f"{stage}_alive.npy", folder / f"{stage}_sketch.npy"
    save_array(alive, alive_D)
    numbers = tuple(part.start for part in taking)
    shape = (len(verdict_D), config.fuzzy.num_hashes)
    files = {
        name: tuple(part.cleaned.feature(part.file, f"{stage}_{name}") for part in taking)
        for name in ("bands", "sketch")
    }
    join_sketches(files["sketch"], numbers, sketches, shape)
    compared = Compared(
        bands=files["bands"],
        numbers=numbers,
        num_documents=len(verdict_D),
        alive=alive,
        sketches=sketches,
        threshold=config.fuzzy.threshold,
    )
    found_D = survivors(compared, config.fuzzy.bands, pool)
    sketches.unlink()
    return found_D
