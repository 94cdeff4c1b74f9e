"""Gopher's quality and repetition heuristics (Rae et al. 2021, appendix A.1.1)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from munro.base_model.data.config import QualityConfig

STOP_WORDS = frozenset({"the", "be", "to", "of", "and", "that", "have", "with"})
BULLETS = ("-", "*", "•", "‣", "▪", "◦", "–")  # noqa: RUF001
ELLIPSES = ("...", "…")
MOST_TOP = {2: 0.20, 3: 0.18, 4: 0.16}
"""Characters that the commonest n-gram may make up."""
MOST_REPEATED = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}
"""Characters that may be part of some n-gram that stands there twice."""
_RNG = np.random.default_rng(0x676F70686572)
_MULTIPLIER = _RNG.integers(0, 1 << 64, 16, np.uint64) | np.uint64(1)


def fault(text: str, config: QualityConfig) -> str:
    """Why a document is left out, or "" when it is good enough."""
    words = text.split()
    if not config.min_words <= len(words) <= config.max_words:
        return "number of words"
    if not words:
        return ""
    lengths = np.fromiter(map(len, words), np.int64, len(words))
    low, high = config.mean_word
    if not low <= lengths.mean() <= high:
        return "mean word length"
    if text.count("#") > config.max_symbols * len(words):
        return "hash signs"
    if sum(map(text.count, ELLIPSES)) > config.max_symbols * len(words):
        return "ellipses"
    lines = [line.strip() for line in text.split("\n")]
    lines = [line for line in lines if line]
    if sum(line.startswith(BULLETS) for line in lines) > config.max_bullet_lines * len(lines):
        return "bullet lines"
    if sum(line.endswith(ELLIPSES) for line in lines) > config.max_ellipsis_lines * len(lines):
        return "ellipsis lines"
    if sum(_has_letter(word) for word in words) < config.min_alphabetic * len(words):
        return "words without letters"
    if len(STOP_WORDS.intersection(map(str.lower, words))) < config.min_stop_words:
        return "stop words"
    return repetition(text, lines, words, lengths) if config.repetition else ""


def repetition(
    text: str, lines: Sequence[str], words: Sequence[str], lengths: NDArray[np.int64]
) -> str:
    """Which threshold on repeated lines, paragraphs or n-grams is passed, or ""."""
    paragraphs = [block.strip() for block in text.split("\n\n") if block.strip()]
    for name, blocks in (("lines", lines), ("paragraphs", paragraphs)):
        share, characters = _repeated_blocks(blocks)
        if share > 0.3 or characters > 0.2:
            return f"repeated {name}"
    hashed = np.fromiter(map(hash, words), np.int64, len(words)).view(np.uint64)
    total = int(lengths.sum())
    for length, most in MOST_TOP.items():
        if _top_share(hashed, lengths, length, total) > most:
            return f"top {length}-gram"
    for length, most in MOST_REPEATED.items():
        share = _repeated_share(hashed, lengths, length, total)
        if share > most:
            return f"repeated {length}-grams"
        if share <= MOST_REPEATED[10]:
            break  # a repeated longer n-gram is made of repeated shorter ones
    return ""


def _has_letter(word: str) -> bool:
    # most words begin or end with a letter, which saves looking at the others
    return word[0].isalpha() or word[-1].isalpha() or any(map(str.isalpha, word))


def _repeated_blocks(blocks: Sequence[str]) -> tuple[float, float]:
    """Shares of the blocks, and of their characters, that stood there before."""
    seen: set[str] = set()
    repeated = characters = 0
    for block in blocks:
        if block in seen:
            repeated += 1
            characters += len(block)
        seen.add(block)
    return repeated / max(len(blocks), 1), characters / max(sum(map(len, blocks)), 1)


def _ngrams(hashed: NDArray[np.uint64], length: int) -> NDArray[np.uint64]:
    size = len(hashed) - length + 1
    total = hashed[:size] * _MULTIPLIER[0]
    for place in range(1, length):
        total = total + hashed[place : place + size] * _MULTIPLIER[place]
    return np.asarray(total ^ (total >> np.uint64(29)))


def _top_share(
    hashed: NDArray[np.uint64], lengths: NDArray[np.int64], length: int, total: int
) -> float:
    if len(hashed) < length:
        return 0.0
    _, first, counts = np.unique(_ngrams(hashed, length), return_index=True, return_counts=True)
    if counts.max() < 2:
        return 0.0
    sizes = np.convolve(lengths, np.ones(length, np.int64), "valid")[first]
    top = counts == counts.max()
    return float((sizes * counts)[top].max()) / total


def _repeated_share(
    hashed: NDArray[np.uint64], lengths: NDArray[np.int64], length: int, total: int
) -> float:
    if len(hashed) < length:
        return 0.0
    _, place, counts = np.unique(_ngrams(hashed, length), return_inverse=True, return_counts=True)
    starts = np.flatnonzero(counts[place] > 1)
    if not starts.size:
        return 0.0
    edges = np.zeros(len(hashed) + 1, np.int64)
    np.add.at(edges, starts, 1)
    np.add.at(edges, starts + length, -1)
    return float(lengths[np.cumsum(edges[:-1]) > 0].sum()) / total
