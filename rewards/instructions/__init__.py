"""Instructions that a program can check, by their published names: IFEval's 25 types, IFBench's 57.

    checker({"id": "punctuation:no_comma"}).follows("No comma here.")          # True
    checker({"not": {"id": "keywords:existence", "kwargs": {"keywords": ["moss"]}}})

IFEval: arXiv 2311.07911. A family of instructions is one file here. IFBench's (arXiv 2507.02833)
have a folder, for they part texts their own way.
"""

from __future__ import annotations

from munro.rewards.instructions import ifbench, keywords, length, manner, shape
from munro.rewards.instructions.checkers import REGISTRY, Checker, checker, checkers

__all__ = [
    "REGISTRY",
    "Checker",
    "checker",
    "checkers",
    "ifbench",
    "keywords",
    "length",
    "manner",
    "shape",
]
