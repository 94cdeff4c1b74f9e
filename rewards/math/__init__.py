"""Mathematics: is the final answer of a reply the reference, in whatever form it is written?"""

from __future__ import annotations

from munro.rewards.math.answers import extract
from munro.rewards.math.verifier import (
    EquivalenceJudge,
    MathVerifier,
    close,
    configure,
    verify,
    verify_group,
)

__all__ = [
    "EquivalenceJudge",
    "MathVerifier",
    "close",
    "configure",
    "extract",
    "verify",
    "verify_group",
]
