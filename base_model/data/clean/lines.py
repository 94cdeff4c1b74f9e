"""Boilerplate: lines that many documents of a source share, such as menus, licences and footers.

A first pass over the parts counts in how many documents each line stands, as arrays of hashes; the
counts are merged one range of hashes at a time, so memory does not grow with the number of lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from munro.base_model.data.clean.words import Hashes, lines_of
from munro.base_model.data.config import LinesConfig
from munro.base_model.data.documents import Document

RANGES = 64
"""Pieces in which the counts are merged."""
LEAST_INK = 8
"""Characters of a line that can be boilerplate: brackets and rules are left where they are."""


def line_counts(texts: Sequence[str], config: LinesConfig) -> tuple[Hashes, NDArray[np.int64]]:
    """Distinct lines of these documents, as sorted hashes, and in how many documents each stands.

    Lines that are too short or too long to be boilerplate are not looked for here: that is asked
    once a line is about to be removed.
    """
    lines = lines_of([_without_long_lines(text, config.max_characters) for text in texts])
    order = np.lexsort((lines.documents, lines.hashes))
    hashes, documents = lines.hashes[order], lines.documents[order]
    first = np.ones(len(order), np.bool_)
    first[1:] = (np.diff(hashes) != 0) | (np.diff(documents) != 0)
    unique, counts = np.unique(hashes[first], return_counts=True)
    return unique, counts


def merged(some: Sequence[tuple[Hashes, NDArray[np.int64]]]) -> tuple[Hashes, NDArray[np.int64]]:
    """Several counts as one."""
    if not some:
        return np.zeros(0, np.uint64), np.zeros(0, np.int64)
    hashes = np.concatenate([each[0] for each in some])
    counts = np.concatenate([each[1] for each in some])
    unique, place = np.unique(hashes, return_inverse=True)
    total = np.zeros(len(unique), np.int64)
    np.add.at(total, place, counts)
    return unique, total


def boilerplate(files: Sequence[Path], *, num_documents: int, config: LinesConfig) -> Hashes:
    """Sorted hashes of the lines that stand in too many documents.

    Args:
        files: `.npy` arrays (2, lines) of uint64: sorted hashes, and counts.
        num_documents: of the source.
        config: how many are too many.
    """
    least = max(config.min_documents, config.min_share * num_documents)
    opened = [np.load(file, mmap_mode="r") for file in files]
    common = []
    for number in range(RANGES):
        low = np.uint64(number << 58)
        high = np.uint64(((number + 1) << 58) - 1)
        slices = []
        for array in opened:
            start = np.searchsorted(array[0], low, side="left")
            stop = np.searchsorted(array[0], high, side="right")
            slices.append((np.array(array[0, start:stop]), array[1, start:stop].astype(np.int64)))
        hashes, counts = merged(slices)
        common.append(hashes[counts >= least])
    return np.concatenate(common) if common else np.zeros(0, np.uint64)


def without_boilerplate(
    documents: Sequence[Document], common: Hashes, config: LinesConfig
) -> list[Document]:
    """The documents without those lines; what is left of one may be empty."""
    if not common.size:
        return list(documents)
    cleaned = []
    lines = lines_of([document.text for document in documents])
    place = np.minimum(np.searchsorted(common, lines.hashes), len(common) - 1)
    hits_of = np.split(common[place] == lines.hashes, np.cumsum(lines.counts)[:-1])
    for document, hits in zip(documents, hits_of, strict=True):
        cleaned.append(_without(document, hits, config) if hits.any() else document)
    return cleaned


def _without(document: Document, hits: NDArray[np.bool_], config: LinesConfig) -> Document:
    kept, number = [], 0
    for line in document.text.split("\n"):
        ink = line.strip(" \t\n\r\v\f")
        is_common = bool(ink) and bool(hits[number])
        number += bool(ink)
        if not (is_common and LEAST_INK <= len(ink) <= config.max_characters):
            kept.append(line)
    return Document(
        key=document.key,
        text="\n".join(kept).strip("\n"),
        prefix=document.prefix,
        group=document.group,
    )


def _without_long_lines(text: str, longest: int) -> str:
    """Lines that cannot be boilerplate only cost time."""
    lines = text.split("\n")
    if max(map(len, lines)) <= 2 * longest:
        return text
    return "\n".join(line for line in lines if len(line) <= 2 * longest)
