"""How alike texts are: in their characters, in their words, and in their numbers apart."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from munro.base_model.data.clean.minhash import Signatures, band_keys, signatures, sketch
from munro.base_model.data.clean.words import Segments, mixed

NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
WORD = re.compile(r"[^\W_]+|[^\w\s]")
HASHES, BANDS = 256, 64
"""Four values a band: texts of similarity 0.5 share one in 98 of 100 cases."""
_MULTIPLIER = np.random.default_rng(0x717561).integers(0, 1 << 64, 16, np.uint64) | np.uint64(1)


def even(text: str) -> str:
    """Without what case and white space add."""
    return " ".join(text.casefold().split())


def masked(text: str) -> str:
    """An even text without its numbers."""
    return NUMBER.sub("0", text)


def numbers(text: str) -> tuple[str, ...]:
    """The numbers of a text, in no order."""
    return tuple(sorted(number.rstrip(".,") for number in NUMBER.findall(text)))


def words(text: str) -> list[str]:
    """Words, and numbers among them."""
    return [word for word in WORD.findall(text) if word.isalnum()]


def overlap(one: Counter[str], other: Counter[str]) -> float:
    """Share of the words in common, of the longer one; 1 where neither has any."""
    longer = max(one.total(), other.total())
    return (one & other).total() / longer if longer else 1.0


def shared(one: Sequence[str], other: Sequence[str]) -> float:
    """Share of the sorted texts in common, of the longer list; 1 where neither has any."""
    at = both = 0
    for text in one:
        while at < len(other) and other[at] < text:
            at += 1
        if at < len(other) and other[at] == text:
            both, at = both + 1, at + 1
    longer = max(len(one), len(other))
    return both / longer if longer else 1.0


def signed(texts: Sequence[str], ngram: int) -> Signatures:
    """(D, HASHES) signatures of the texts' character n-grams."""
    return signatures(_ngrams(texts, ngram), HASHES)


def bands_of(signature: Signatures) -> NDArray[np.uint64]:
    """(BANDS, D) keys: texts that share one may be alike."""
    return band_keys(signature, BANDS)


def sketched(signature: Signatures) -> NDArray[np.uint16]:
    """(D, HASHES) what similarity is estimated by."""
    return sketch(signature)


def _ngrams(texts: Sequence[str], ngram: int) -> Segments:
    hashes, counts = [], []
    for text in texts:
        raw = text.encode("utf-32-le", "replace")
        codes = np.frombuffer(raw, np.uint32).astype(np.uint64)
        size = max(len(codes) - ngram + 1, 1)
        total = np.zeros(size, np.uint64)
        for place in range(min(ngram, len(codes))):
            total += codes[place : place + size] * _MULTIPLIER[place]
        unique = np.unique(mixed(total))
        hashes.append(unique)
        counts.append(len(unique))
    joined = np.concatenate(hashes) if hashes else np.zeros(0, np.uint64)
    return Segments(joined, np.array(counts, np.int64))
