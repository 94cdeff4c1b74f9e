"""Texts as 64-bit hashes of their words, lines or n-grams, many documents at once.

Comparing documents word by word is most of what deduplication costs, so it is done on whole
batches with NumPy and no loop over words. A word is a run of letters, digits and underscores in
lower case; an ideograph is a word of its own.

Shape suffixes: D = documents of the batch, W = their words end to end, C = their bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]

_BASE = np.uint64(0x9E3779B97F4A7C15)
_BASE_INVERSE = np.uint64(pow(int(_BASE), -1, 1 << 64))
_RNG = np.random.default_rng(0x6D756E726F)
_BYTE_VALUE = _RNG.integers(0, 1 << 64, 256, np.uint64)
_BYTE_VALUE[0x41:0x5B] = _BYTE_VALUE[0x61:0x7B]  # capitals of ASCII are folded here
_WORD_MULTIPLIER = _RNG.integers(0, 1 << 64, 64, np.uint64) | np.uint64(1)

_IS_WORD = np.zeros(256, np.bool_)
_IS_WORD[[*range(0x30, 0x3A), *range(0x41, 0x5B), 0x5F, *range(0x61, 0x7B)]] = True
_IS_WORD[0x80:] = True
_FIRST_IDEOGRAPH, _AFTER_IDEOGRAPHS = 0xE3, 0xEE  # first bytes of U+3000 to U+DFFF
_IS_SPACE = np.zeros(256, np.bool_)
_IS_SPACE[[0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x20]] = True
_SPACE, _NEWLINE = 0x20, 0x0A


@dataclass(frozen=True, slots=True)
class Segments:
    """Words, lines or n-grams of a batch."""

    hashes: Hashes
    """(W,)"""
    counts: NDArray[np.int64]
    """(D,) how many of them each document has."""

    @property
    def documents(self) -> NDArray[np.int64]:
        """(W,) which document each belongs to."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    def split(self) -> list[Hashes]:
        """The hashes of each document."""
        return np.split(self.hashes, np.cumsum(self.counts)[:-1])


def mixed(number: Hashes) -> Hashes:
    """Every bit depends on every other (the finaliser of SplitMix64)."""
    number = (number ^ (number >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    number = (number ^ (number >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return number ^ (number >> np.uint64(31))


def words_of(texts: Sequence[str]) -> Segments:
    """Hashes of every text's words, in order."""
    bytes_C, ends_D = _joined(texts)
    if any(not text.isascii() for text in texts):
        bytes_C = _without_punctuation(bytes_C)
    is_word_C = _IS_WORD.take(bytes_C)
    # every text ends with a newline, so the last byte is never part of a word
    edge_C = is_word_C[1:] != is_word_C[:-1]
    is_begin_C = np.empty(len(bytes_C), np.bool_)
    is_begin_C[:1] = is_word_C[:1]
    np.logical_and(edge_C, is_word_C[1:], out=is_begin_C[1:])
    is_end_C = np.zeros(len(bytes_C), np.bool_)
    np.logical_and(edge_C, is_word_C[:-1], out=is_end_C[1:])
    ideograph = np.flatnonzero(bytes_C >= _FIRST_IDEOGRAPH)
    ideograph = ideograph[bytes_C[ideograph] < _AFTER_IDEOGRAPHS]
    is_end_C[ideograph[ideograph > 0]] |= is_word_C[ideograph[ideograph > 0] - 1]
    is_begin_C[ideograph] = True
    return _hashed(bytes_C, np.flatnonzero(is_begin_C), np.flatnonzero(is_end_C), ends_D)


def lines_of(texts: Sequence[str]) -> Segments:
    """Hashes of every text's lines, trimmed and in lower case; empty ones not counted."""
    bytes_C, ends_D = _joined(texts)
    ink = np.flatnonzero(~_IS_SPACE[bytes_C])
    line_C = np.cumsum(bytes_C == _NEWLINE, dtype=np.int64)
    changes = np.flatnonzero(np.diff(line_C[ink], prepend=-1))
    begins = ink[changes]
    ends = ink[np.append(changes[1:], len(ink)) - 1] + 1 if ink.size else begins
    return _hashed(bytes_C, begins, ends, ends_D)


def ngrams_of(words: Segments, length: int) -> Segments:
    """Hashes of every document's word n-grams; one shorter than that has one, of all its words."""
    weighted = [words.hashes * multiplier for multiplier in _WORD_MULTIPLIER[:length]]
    size = len(words.hashes) - length + 1
    if size > 0:
        total = weighted[0][:size].copy()
        for place in range(1, length):
            total += weighted[place][place : place + size]
        document_W = words.documents
        within = document_W[:size] == document_W[length - 1 :]
        hashes = mixed(total[within])
    else:
        hashes = np.zeros(0, np.uint64)
    counts_D = np.maximum(words.counts - length + 1, 0)
    short = np.flatnonzero((words.counts < length) & (words.counts > 0))
    if short.size:
        starts_D = np.cumsum(words.counts) - words.counts
        whole = [
            sum(int(weighted[i][starts_D[one] + i]) for i in range(int(words.counts[one])))
            for one in short
        ]
        at = np.cumsum(counts_D)[short]
        extra = mixed(np.array([value & 0xFFFFFFFFFFFFFFFF for value in whole], np.uint64))
        hashes = np.insert(hashes, at, extra)
        counts_D[short] = 1
    return Segments(hashes, counts_D)


def _joined(texts: Sequence[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The texts' bytes, a newline after each, and where each ends; in lower case but for ASCII."""
    encoded = [(text if text.isascii() else text.lower()).encode() for text in texts]
    ends_D = np.cumsum([len(one) + 1 for one in encoded], dtype=np.int64)
    return np.frombuffer(b"\n".join([*encoded, b""]), np.uint8), ends_D


def _without_punctuation(bytes_C: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Spaces instead of typographic punctuation, whose bytes would count as letters."""
    bytes_C = bytes_C.copy()
    three = np.flatnonzero((bytes_C[:-2] == 0xE2) & ((bytes_C[1:-1] & 0xFE) == 0x80))
    ideographic = np.flatnonzero((bytes_C[:-2] == 0xE3) & (bytes_C[1:-1] == 0x80))
    for at in (three, ideographic):
        for offset in range(3):
            bytes_C[at + offset] = _SPACE
    two = np.flatnonzero((bytes_C[:-1] == 0xC2) & np.isin(bytes_C[1:], (0xA0, 0xAB, 0xB7, 0xBB)))
    bytes_C[two] = bytes_C[two + 1] = _SPACE
    return bytes_C


def _hashed(
    bytes_C: NDArray[np.uint8],
    begins_W: NDArray[np.int64],
    ends_W: NDArray[np.int64],
    ends_D: NDArray[np.int64],
) -> Segments:
    """Hash segments as polynomials in a fixed base, all from one running sum over the bytes."""
    counts_D = np.diff(np.searchsorted(begins_W, ends_D), prepend=0)
    if not begins_W.size:
        return Segments(np.zeros(0, np.uint64), counts_D)
    power_C, inverse_C = _powers(1 << (len(bytes_C) - 1).bit_length())
    running = _BYTE_VALUE[bytes_C]
    running *= power_C[: len(bytes_C)]
    np.cumsum(running, out=running)
    total_W = running[ends_W - 1]
    before_W = running[begins_W - 1]  # for a segment at the very start this wraps to the last byte
    before_W[begins_W == 0] = 0
    return Segments(mixed((total_W - before_W) * inverse_C[begins_W]), counts_D)


@lru_cache(maxsize=2)
def _powers(size: int) -> tuple[Hashes, Hashes]:
    """The base, and its inverse, to the power of 0 .. size - 1, modulo 2 ** 64."""
    power, inverse = (np.full(size, base, np.uint64) for base in (_BASE, _BASE_INVERSE))
    power[0] = inverse[0] = 1
    return np.multiply.accumulate(power), np.multiply.accumulate(inverse)
