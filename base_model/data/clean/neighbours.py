"""Near duplicates among any number of documents, from band keys and sketches on the disk.

    band keys ──► documents that share one ──► similarity of their sketches ──► who goes for whom

Documents are numbered in drop order. Each is compared with the first and with the previous one of
its group, band by band, so the work grows with the number of documents and not with the square of
a group. A document goes when it is similar enough to an earlier one *that stays*: chains of small
differences do not pull far documents together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from munro.base_model.data.clean.minhash import similarity
from munro.base_model.data.pool import Pool

PAIRS_AT_ONCE = 8192
NOBODY = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """Where the features of all documents lie, in drop order."""

    bands: tuple[Path, ...]
    """`.npy` files (B, documents of a part)."""
    numbers: tuple[int, ...]
    """Number of each part's first document."""
    num_documents: int
    alive: Path
    """`.npy` file (D,) bool: who takes part."""
    sketches: Path
    """`.npy` file (D, H)."""
    threshold: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BandJob:
    """What a worker is told about a band."""

    compared: Compared
    band: int


def survivors(compared: Compared, num_bands: int, pool: Pool) -> NDArray[np.int64]:
    """(D,) the document that stays in place of each that goes; `NOBODY` for those that stay."""
    jobs = [BandJob(compared=compared, band=band) for band in range(num_bands)]
    edges = [np.zeros((0, 2), np.int64), *pool.each(band_edges, jobs)]
    pairs = np.unique(np.concatenate(edges), axis=0)
    sketches = np.load(compared.sketches, mmap_mode="r")
    survivor_D = np.full(compared.num_documents, NOBODY, np.int64)
    order = np.lexsort((pairs[:, 0], pairs[:, 1]))
    for earlier, later in pairs[order].tolist():
        if survivor_D[later] != NOBODY:
            continue
        stays = int(survivor_D[earlier])
        if stays == NOBODY:
            survivor_D[later] = earlier
        elif similarity(sketches[stays], sketches[later]) >= compared.threshold:
            survivor_D[later] = stays
    return survivor_D


def band_edges(job: BandJob) -> NDArray[np.int64]:
    """(pairs, 2) documents, the earlier first, that share this band and are similar enough."""
    compared = job.compared
    alive_D = np.load(compared.alive)
    keys, numbers = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
    for file, start in zip(compared.bands, compared.numbers, strict=True):
        row = np.array(np.load(file, mmap_mode="r")[job.band])
        takes_part = np.flatnonzero(alive_D[start : start + len(row)])
        keys.append(row[takes_part])
        numbers.append(takes_part + start)
    key, number = np.concatenate(keys), np.concatenate(numbers)
    order = np.argsort(key, kind="stable")
    key, number = key[order], number[order]
    shared = np.flatnonzero(np.diff(key) == 0) + 1
    if not shared.size:
        return np.zeros((0, 2), np.int64)
    is_first = np.ones(len(key), np.bool_)
    is_first[shared] = False
    first = np.maximum.accumulate(np.where(is_first, np.arange(len(key)), 0))
    pairs = np.concatenate(
        [
            np.stack([number[shared - 1], number[shared]], axis=1),
            np.stack([number[first[shared]], number[shared]], axis=1),
        ]
    )
    return _similar(np.unique(pairs, axis=0), compared)


def _similar(pairs: NDArray[np.int64], compared: Compared) -> NDArray[np.int64]:
    sketches = np.load(compared.sketches, mmap_mode="r")
    kept = []
    for start in range(0, len(pairs), PAIRS_AT_ONCE):
        some = pairs[start : start + PAIRS_AT_ONCE]
        alike = similarity(sketches[some[:, 0]], sketches[some[:, 1]]) >= compared.threshold
        kept.append(some[alike])
    return np.concatenate(kept)


def join_sketches(
    files: Sequence[Path], numbers: Sequence[int], target: Path, shape: tuple[int, int]
) -> None:
    """The sketches of all parts as one `.npy` file, without holding them in memory."""
    draft = target.with_suffix(".draft")
    create: Any = np.lib.format.open_memmap
    joined = create(draft, mode="w+", dtype=np.uint16, shape=shape)
    for file, start in zip(files, numbers, strict=True):
        some = np.load(file, mmap_mode="r")
        joined[start : start + len(some)] = some
    joined.flush()
    del joined
    draft.replace(target)
