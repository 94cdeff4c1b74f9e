"""IFBench's 57 types by their published names and arguments, and the 58th that its data never uses.

    checker({"id": "count:pronouns", "kwargs": {"N": 2}}).follows("She saw him.")          # True

IFBench: arXiv 2507.02833. A group of types is one file here. Verdicts are those of the published
checkers, also where these ask less than the sentence says; where they break, draw lots or count
what is not there, ours decide (docs/rewards.md lists it).
"""

from __future__ import annotations

from munro.rewards.instructions.ifbench import (
    count,
    custom,
    ratio,
    repeat,
    sentence,
    shape,
    table,
    wording,
)

__all__ = ["count", "custom", "ratio", "repeat", "sentence", "shape", "table", "wording"]
