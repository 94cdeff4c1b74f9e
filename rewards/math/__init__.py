"""Mathematics: is the final answer of a reply the reference, in whatever form it is written?"""

from __future__ import annotations

from munro.rewards.math.answers import extract
from munro.rewards.math.extraction import last_number
from munro.rewards.math.verifier import (
    BadReference,
    EquivalenceJudge,
    MathVerifier,
    close,
    configure,
    reference_in,
    verify,
    verify_group,
)

__all__ = [
    "BadReference",
    "EquivalenceJudge",
    "MathVerifier",
    "close",
    "configure",
    "extract",
    "last_number",
    "reference_in",
    "verify",
    "verify_group",
]
