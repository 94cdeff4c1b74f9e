"""Signatures whose agreement estimates how much two documents have in common.

One permutation is enough (Li, Owen and Zhang 2012): every n-gram falls into one of `num_hashes`
bins by some bits of its hash, and each bin keeps the smallest of the others. Bins that stay empty
take the value of another one, chosen by the bin alone, so that equal documents stay equal
(Shrivastava 2017). That costs one hash for each n-gram instead of `num_hashes`.

Shape suffixes: D = documents, H = bins of a signature, B = bands.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from munro.base_model.data.clean.words import Hashes, Segments, mixed

Signatures = NDArray[np.uint32]

ATTEMPTS = 24
"""How often an empty bin looks for a full one at random."""

_EMPTY = np.uint32(0xFFFFFFFF)
_RNG = np.random.default_rng(0x636169726E)
_BAND_MULTIPLIER = _RNG.integers(0, 1 << 64, 4096, np.uint64) | np.uint64(1)


def signatures(ngrams: Segments, num_hashes: int) -> Signatures:
    """(D, H) the smallest hash of each bin. A document without n-grams has all bits set.

    Args:
        ngrams: hashes with all bits well mixed.
        num_hashes: bins, a power of two.
    """
    shift = np.uint64(64 - (num_hashes - 1).bit_length())
    slot = ngrams.documents * num_hashes + (ngrams.hashes >> shift).astype(np.int64)
    signature = np.full(len(ngrams.counts) * num_hashes, _EMPTY, np.uint32)
    # the highest value marks an empty bin, so one n-gram in four thousand million counts as none
    np.minimum.at(signature, slot, ngrams.hashes.astype(np.uint32))
    return _filled(signature.reshape(-1, num_hashes))


def band_keys(signature_DH: Signatures, bands: int) -> Hashes:
    """(B, D) one hash for each band; documents that share one agree on all of that band."""
    num_documents, num_hashes = signature_DH.shape
    rows = num_hashes // bands
    banded = signature_DH.reshape(num_documents, bands, rows).astype(np.uint64)
    weighted = (banded * _BAND_MULTIPLIER[:rows]).sum(axis=2, dtype=np.uint64)
    return np.ascontiguousarray(mixed(weighted).T)


def sketch(signature_DH: Signatures) -> NDArray[np.uint16]:
    """(D, H) what is kept of a signature to estimate similarity: its low bits.

    Two values that differ agree here once in 65,536, which moves no estimate.
    """
    return (signature_DH & np.uint32(0xFFFF)).astype(np.uint16)


def similarity(one_H: NDArray[np.uint16], other_H: NDArray[np.uint16]) -> NDArray[np.float64]:
    """Estimated Jaccard similarity of sketches, row by row."""
    return np.asarray((one_H == other_H).mean(axis=-1))


def _filled(signature_DH: Signatures) -> Signatures:
    """Give every empty bin the value of a bin that was not, chosen the same way in every document.

    Bins are tried in an order that hashing gives; what is still empty after that, in documents of
    very few n-grams, takes the next full bin.
    """
    num_hashes = signature_DH.shape[1]
    was_empty_DH = signature_DH == _EMPTY
    some_D = ~was_empty_DH.all(axis=1)
    row, column = np.nonzero(was_empty_DH & some_D[:, None])
    for target_H in _tried_bins(num_hashes):
        source = target_H[column]
        found = ~was_empty_DH[row, source]
        signature_DH[row[found], column[found]] = signature_DH[row[found], source[found]]
        row, column = row[~found], column[~found]
        if not row.size:
            return signature_DH
    rows, at = np.unique(row, return_inverse=True)
    full_RH = np.tile(~was_empty_DH[rows], 2)
    place_RH = np.where(full_RH, np.arange(2 * num_hashes), 2 * num_hashes)
    next_RH = np.minimum.accumulate(place_RH[:, ::-1], axis=1)[:, ::-1] % num_hashes
    signature_DH[row, column] = signature_DH[row, next_RH[at, column]]
    return signature_DH


@cache
def _tried_bins(num_hashes: int) -> NDArray[np.int64]:
    """(attempts, H) which bin an empty one looks at, attempt by attempt."""
    tried = np.arange(ATTEMPTS * num_hashes, dtype=np.uint64) + np.uint64(1 << 32)
    within = mixed(tried) % np.uint64(num_hashes)
    return within.astype(np.int64).reshape(ATTEMPTS, num_hashes)
