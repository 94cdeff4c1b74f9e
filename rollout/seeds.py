"""One random stream per request, so that what is drawn never depends on who else is drawing."""

from __future__ import annotations

import hashlib


def request_seed(seed: int, key: tuple[int, ...]) -> int:
    """Seed of one request's random stream, in [0, 2**63).

    A function of the run's seed and the request's place alone (task index, attempt, try, turn): the
    same on every machine and in every process, and unrelated for neighbouring keys.
    """
    text = ",".join(str(part) for part in (seed, *key))
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
