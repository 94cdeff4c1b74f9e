"""Hashes of files, fast for large ones."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

SAMPLE = 1 << 16
"""Bytes of a large file that its digest covers, at each of `SAMPLES` places."""
SAMPLES = 64


def digest_of(file: Path) -> str:
    """Hash of a file; of a large one, of its size and many places in it."""
    size = file.stat().st_size
    digest = sha256(str(size).encode())
    with file.open("rb") as opened:
        if size <= SAMPLE * SAMPLES:
            digest.update(opened.read())
        else:
            for number in range(SAMPLES):
                opened.seek((size - SAMPLE) * number // (SAMPLES - 1))
                digest.update(opened.read(SAMPLE))
    return digest.hexdigest()
