"""No reference of a real data set, with one thing in it made wrong, passes for the reference."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from munro.rewards.config import RewardsConfig
from munro.rewards.errors import GraderError
from munro.rewards.math import MathVerifier
from tests.rewards.math.perturbations import perturbed

REFERENCES: dict[str, list[str]] = json.loads(
    (Path(__file__).parent / "references.json").read_text()
)
"""By data set: its own reference answers, as they are written there."""
ALL = [reference for references in REFERENCES.values() for reference in references]


def _passing(references: Sequence[str], seed: int) -> tuple[list[tuple[str, str]], Counter[str]]:
    """The pairs that pass, and how many changes of each kind were tried."""
    passing, tried = [], Counter[str]()
    with MathVerifier(RewardsConfig(workers=2, timeout_s=20)) as verifier:
        for reference in references:
            changes = list(perturbed(reference, seed))
            replies = [rf"So it is \boxed{{{answer}}}" for _, answer in changes]
            try:
                grades = verifier.verify_group(replies, reference)
            except GraderError:
                tried["unreadable reference"] += 1
                continue
            tried.update(kind for kind, _ in changes)
            passing += [
                (reference, answer)
                for (_, answer), grade in zip(changes, grades, strict=True)
                if grade.passed
            ]
    return passing, tried


def test_a_reference_with_one_thing_wrong_never_passes():
    passing, tried = _passing(random.Random(0).sample(ALL, 300), seed=0)
    assert passing == []
    assert tried["digit"] > 200
    assert tried["sign"] > 70


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_two_thousand_references_with_one_thing_wrong_never_pass():
    passing, tried = _passing(ALL, seed=1)
    assert len(ALL) >= 2000
    assert passing == []
    assert tried["unreadable reference"] < 0.05 * len(ALL)
    assert min(tried[kind] for kind in ("digit", "sign", "exponent", "unit")) > 20
