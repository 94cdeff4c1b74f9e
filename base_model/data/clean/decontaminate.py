"""Evaluation text that stands in training documents, also where some of its words were changed.

A document is contaminated when twenty of its words in a row agree, place by place, with at least
sixteen of twenty of an evaluation text (report, section 2.4.3: 20-gram fuzzy match at 80%). With
at most four of twenty changed, four in a row are the same somewhere, so runs of four words lead to
every candidate and only those are compared in full.

An evaluation text of fewer than twenty words counts when sixteen of them agree, or all of them
where it has fewer than sixteen.

Shape suffixes: W = words, P = candidate pairs of places, L = places compared for a pair.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from munro.base_model.data.clean.words import Hashes, Segments, ngrams_of, words_of
from munro.base_model.data.config import DecontaminationConfig

MOST_PLACES = 64
"""A run of words that stands in more places of the evaluation text leads to the first ones only."""
PAIRS_AT_ONCE = 50_000


@dataclass(frozen=True, slots=True)
class EvaluationIndex:
    """Evaluation text by its runs of words."""

    words: Hashes
    """(W,) every text end to end."""
    first: NDArray[np.int64]
    """(W,) where the text of each word begins."""
    after: NDArray[np.int64]
    """(W,) where it ends."""
    seed_length: int
    seeds: Hashes
    """Sorted hashes of runs."""
    places: NDArray[np.int64]
    """Where each run begins."""
    num_short: int
    """Texts too short to be looked for."""


def build_index(texts: Sequence[str], config: DecontaminationConfig) -> EvaluationIndex:
    """Make evaluation texts quick to find."""
    words = words_of(texts)
    long_enough = words.counts >= config.min_words
    kept = np.repeat(long_enough, words.counts)
    words_W = words.hashes[kept]
    counts = words.counts[long_enough]
    after = np.cumsum(counts)
    length = _seed_length(config)
    seeds = ngrams_of(Segments(words_W, counts), length)
    number = np.arange(len(seeds.hashes)) - np.repeat(
        np.cumsum(seeds.counts) - seeds.counts, seeds.counts
    )
    places = np.repeat(after - counts, seeds.counts) + number
    order = np.argsort(seeds.hashes, kind="stable")
    return EvaluationIndex(
        words=words_W,
        first=np.repeat(after - counts, counts),
        after=np.repeat(after, counts),
        seed_length=length,
        seeds=seeds.hashes[order],
        places=places[order],
        num_short=int((~long_enough).sum()),
    )


def contaminated(
    words: Segments, index: EvaluationIndex, config: DecontaminationConfig
) -> NDArray[np.bool_]:
    """(D,) documents that hold evaluation text."""
    found_D = np.zeros(len(words.counts), np.bool_)
    if not index.seeds.size or not words.hashes.size:
        return found_D
    runs = ngrams_of(words, index.seed_length)
    starts = np.cumsum(words.counts) - words.counts
    begin = np.searchsorted(index.seeds, runs.hashes, side="left")
    hit = np.flatnonzero(index.seeds[np.minimum(begin, len(index.seeds) - 1)] == runs.hashes)
    if not hit.size:
        return found_D
    number = hit - (np.cumsum(runs.counts) - runs.counts)[runs.documents[hit]]
    document = runs.documents[hit]
    place = starts[document] + number
    end = np.searchsorted(index.seeds, runs.hashes[hit], side="right")
    num_places = np.minimum(end - begin[hit], MOST_PLACES)
    pair = np.repeat(np.arange(len(hit)), num_places)
    which = np.arange(len(pair)) - np.repeat(np.cumsum(num_places) - num_places, num_places)
    theirs_P = index.places[begin[hit][pair] + which]
    ours_P, document_P = place[pair], document[pair]
    for start in range(0, len(pair), PAIRS_AT_ONCE):
        some = slice(start, start + PAIRS_AT_ONCE)
        agree = _agree(words, index, config, ours_P[some], theirs_P[some], document_P[some])
        found_D[document_P[some][agree]] = True
    return found_D


def _agree(
    words: Segments,
    index: EvaluationIndex,
    config: DecontaminationConfig,
    ours_P: NDArray[np.int64],
    theirs_P: NDArray[np.int64],
    document_P: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """(P,) whether some window around the pair of places agrees well enough."""
    reach = config.ngram - index.seed_length
    offset_L = np.arange(-reach, config.ngram)
    ends = np.cumsum(words.counts)
    ours_PL = ours_P[:, None] + offset_L
    theirs_PL = theirs_P[:, None] + offset_L
    inside_PL = (ours_PL >= (ends - words.counts)[document_P][:, None]) & (
        ours_PL < ends[document_P][:, None]
    )
    first_P, after_P = index.first[theirs_P], index.after[theirs_P]
    inside_PL &= (theirs_PL >= first_P[:, None]) & (theirs_PL < after_P[:, None])
    same_PL = inside_PL & (
        words.hashes[np.clip(ours_PL, 0, len(words.hashes) - 1)]
        == index.words[np.clip(theirs_PL, 0, len(index.words) - 1)]
    )
    running = np.cumsum(same_PL, axis=1, dtype=np.int32)
    agreeing = running[:, config.ngram - 1 :].copy()
    agreeing[:, 1:] -= running[:, : -config.ngram]
    needed_P = np.minimum(math.ceil(config.threshold * config.ngram - 1e-9), after_P - first_P)
    return np.asarray(agreeing.max(axis=1) >= needed_P)


def _seed_length(config: DecontaminationConfig) -> int:
    """Words in a row that every sufficient match has: the changed ones cut it into so many runs."""
    agreeing = math.ceil(config.threshold * config.ngram - 1e-9)
    runs = config.ngram - agreeing + 1
    return max(1, math.ceil(agreeing / runs))
