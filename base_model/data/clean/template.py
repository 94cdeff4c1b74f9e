"""Pages made from one template: equal but for what was filled in.

A page's skeleton is what is left of it when only its most frequent words stay, in their order.
What a template says on every page stays, what was filled in once does not, so the skeletons of two
such pages are near duplicates although the pages are not (report, section 2.4.3).
"""

from __future__ import annotations

import numpy as np

from munro.base_model.data.clean.words import Hashes, Segments
from munro.base_model.data.config import TemplateConfig


def skeletons(words: Segments, config: TemplateConfig) -> Segments:
    """The words of every skeleton; none for a page whose skeleton is too short to compare."""
    kept = [_skeleton(one, config) for one in words.split()]
    counts = np.array([len(one) for one in kept], np.int64)
    return Segments(np.concatenate(kept) if kept else words.hashes[:0], counts)


def _skeleton(words: Hashes, config: TemplateConfig) -> Hashes:
    _, place, counts = np.unique(words, return_inverse=True, return_counts=True)
    if len(counts) > config.most_frequent:
        # ties at the cut go as a whole, for which of them stays would be chance
        cut = np.partition(counts, -config.most_frequent - 1)[-config.most_frequent - 1]
        words = words[(counts > cut)[place]]
    return words if len(words) >= config.min_words else words[:0]
