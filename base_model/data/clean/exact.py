"""Equal documents: the same once their ends are trimmed and capitals folded."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from munro.base_model.data.documents import Document


def digest(document: Document) -> bytes:
    """16 bytes that equal documents share (report, section 2.4.3: MD5, trimmed, lower case)."""
    text = f"{document.prefix}\n{document.text}" if document.prefix else document.text
    # a fingerprint, not a seal: MD5 is what the report names
    return hashlib.md5(text.strip().lower().encode(), usedforsecurity=False).digest()


def repeated(digests_D2: NDArray[np.uint64], alive_D: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(D,) documents that equal an earlier one.

    Args:
        digests_D2: both halves of every digest, in drop order.
        alive_D: documents that take part.
    """
    numbers = np.flatnonzero(alive_D)
    low, high = digests_D2[numbers, 0], digests_D2[numbers, 1]
    order = np.lexsort((numbers, low, high))
    same = (np.diff(low[order]) == 0) & (np.diff(high[order]) == 0)
    found_D = np.zeros(len(digests_D2), np.bool_)
    found_D[numbers[order[1:][same]]] = True
    return found_D
