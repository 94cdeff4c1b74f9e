"""Which of many texts share runs of words with another text, quickly.

texts ──► hashes of their n-grams ──► postings: n-gram to the texts that have it
                                          │
question ──► its n-grams, rarest first ───┴──► texts that hold a good share of them

Shape suffixes: G = n-grams, K = different ones, P = postings, Q = questions, T = texts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from munro.base_model.data.clean.words import Hashes, Segments, ngrams_of, words_of

Numbers = NDArray[np.int64]
SHORT, LONG = 2, 3
"""Words of an n-gram, in a short text and in any other."""
FEW = 10
"""Words under which a text is short."""
NEARLY = (0.7, 1.4)
"""Length of a text that may be the same as another, of the other's."""
BUDGET = 8192
"""Postings that are read for a question; the rarest n-grams come first."""
SHARE = 0.3
"""Of a question's n-grams that were read, those that a text must have. A changed word takes three
n-grams along: with a fifth of the words changed two fifths are left at the least."""
MOST = 64
"""Texts for a question: those with most n-grams in common, of these such as are as long."""
AT_ONCE, IN_CHUNK = 512, 8192
"""Questions and texts that are read together."""
CELLS = 1 << 19
"""Pairs of question and text that are counted together: what a processor's cache holds."""


class NgramIndex:
    """Texts, quick to find by what they say."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._size = len(texts)
        words = [words_of(texts[at : at + IN_CHUNK]) for at in range(0, self._size, IN_CHUNK)]
        self._lengths = np.concatenate([one.counts for one in words] or [np.zeros(0, np.int64)])
        self._postings = {length: _Postings.of(words, length) for length in (SHORT, LONG)}

    def near(self, texts: Sequence[str]) -> list[list[int]]:
        """For each text the places of those that may be alike, the likeliest first."""
        found: list[list[int]] = [[] for _ in texts]
        if not self._size:
            return found
        for begin in range(0, len(texts), AT_ONCE):
            words = words_of(texts[begin : begin + AT_ONCE])
            for length, postings in self._postings.items():
                is_ours = (words.counts < FEW) == (length == SHORT)
                for at, places in postings.near(
                    _unique(words, length), is_ours, words.counts, self._lengths
                ):
                    found[begin + at] = places
        return found


@dataclass(frozen=True, slots=True)
class _Postings:
    keys: Hashes
    """(K,) sorted."""
    begins: Numbers
    """(K + 1,) where the postings of each begin, and where the last ones end."""
    texts: NDArray[np.int32]
    """(P,)"""

    @classmethod
    def of(cls, chunks: Sequence[Segments], length: int) -> _Postings:
        """Of the texts that a question of this class may be alike."""
        hashes, places = [], []
        first = 0
        for words in chunks:
            ngrams_G, text_G = _unique(words, length)
            # a short text may be alike to one that is a little longer, and the other way round
            fits = (
                words.counts <= NEARLY[1] * FEW
                if length == SHORT
                else words.counts >= NEARLY[0] * FEW
            )
            hashes.append(ngrams_G[fits[text_G]])
            places.append((text_G[fits[text_G]] + first).astype(np.int32))
            first += len(words.counts)
        hash_P = np.concatenate(hashes) if hashes else np.zeros(0, np.uint64)
        text_P = np.concatenate(places) if places else np.zeros(0, np.int32)
        order = np.argsort(hash_P, kind="stable")
        keys_K, begins_K = np.unique(hash_P[order], return_index=True)
        return cls(keys_K, np.append(begins_K, len(hash_P)), text_P[order])

    def near(
        self,
        ngrams: tuple[Hashes, Numbers],
        is_ours_Q: NDArray[np.bool_],
        words_Q: Numbers,
        words_T: Numbers,
    ) -> Iterator[tuple[int, list[int]]]:
        """(question, texts) for each question that any text is near."""
        hash_G, question_G = ngrams
        at_G = np.searchsorted(self.keys, hash_G)
        at_G[at_G == len(self.keys)] = 0
        is_held_G = is_ours_Q[question_G] & (self.keys[at_G] == hash_G if len(self.keys) else False)
        at_G, question_G = at_G[is_held_G], question_G[is_held_G]
        if not len(at_G):
            return
        count_G = self.begins[at_G + 1] - self.begins[at_G]
        order = np.lexsort((count_G, question_G))
        at_G, question_G, count_G = at_G[order], question_G[order], count_G[order]
        kept = _within_budget(question_G, count_G)
        at_G, question_G, count_G = at_G[kept], question_G[kept], count_G[kept]
        group = max(1, CELLS // len(words_T))
        for first in range(0, len(is_ours_Q), group):
            low, high = np.searchsorted(question_G, (first, first + group))
            if low < high:
                held = at_G[low:high], question_G[low:high] - first, count_G[low:high]
                for question, texts in self._best(*held, words_Q[first : first + group], words_T):
                    yield first + question, texts

    def _best(
        self,
        at_G: Numbers,
        question_G: Numbers,
        count_G: Numbers,
        words_Q: Numbers,
        words_T: Numbers,
    ) -> Iterator[tuple[int, list[int]]]:
        offset_G = self.begins[at_G] - (np.cumsum(count_G) - count_G)
        text_P = self.texts[np.repeat(offset_G, count_G) + np.arange(count_G.sum())]
        pair_P = np.repeat(question_G * len(words_T), count_G) + text_P
        read_Q = np.bincount(question_G, minlength=len(words_Q))
        needed_Q = np.maximum(1, np.ceil(SHARE * read_Q)).astype(np.int64)
        pairs, shared = _counted(pair_P, int(needed_Q[read_Q > 0].min()))
        question, text = np.divmod(pairs, len(words_T))
        enough = shared >= needed_Q[question]
        question, text, shared = question[enough], text[enough], shared[enough]
        apart = np.abs(words_Q[question] - words_T[text])
        order = np.lexsort((text, apart, -shared, question))
        question, text = question[order], text[order]
        begins = np.flatnonzero(np.diff(question, prepend=-1))
        ends = np.append(begins, len(question))[1:]
        for begin, end in zip(begins, ends, strict=True):
            yield int(question[begin]), text[begin : min(end, begin + MOST)].tolist()


def _unique(words: Segments, length: int) -> tuple[Hashes, Numbers]:
    """(G,) different n-grams of each text, and which text each is of."""
    ngrams = ngrams_of(words, length)
    hash_G, text_G = ngrams.hashes, ngrams.documents
    order = np.lexsort((hash_G, text_G))
    hash_G, text_G = hash_G[order], text_G[order]
    is_new = np.ones(len(hash_G), np.bool_)
    is_new[1:] = (hash_G[1:] != hash_G[:-1]) | (text_G[1:] != text_G[:-1])
    return hash_G[is_new], text_G[is_new]


def _within_budget(question_G: Numbers, count_G: Numbers) -> NDArray[np.bool_]:
    """Which n-grams of each question are read: the rarest, and one at the least."""
    total_G = np.cumsum(count_G)
    is_first_G = np.diff(question_G, prepend=-1) != 0
    before_G = np.maximum.accumulate(np.where(is_first_G, total_G - count_G, 0))
    fits_G: NDArray[np.bool_] = (total_G - before_G <= BUDGET) | is_first_G
    return fits_G


def _counted(pair_P: Numbers, least: int) -> tuple[Numbers, Numbers]:
    """Pairs that are there so often, and how often."""
    counts = np.bincount(pair_P)
    pairs = np.flatnonzero(counts >= least)
    return pairs, counts[pairs]
