"""Instructions that a program can check: the 25 types of IFEval by their published names, and more.

    checker({"id": "punctuation:no_comma"}).follows("No comma here.")          # True
    checker({"not": {"id": "keywords:existence", "kwargs": {"keywords": ["moss"]}}})

IFEval: arXiv 2311.07911. A family of instructions is one file here.
"""

from __future__ import annotations

from munro.rewards.instructions import keywords, length, manner, shape
from munro.rewards.instructions.checkers import REGISTRY, Checker, checker, checkers

__all__ = ["REGISTRY", "Checker", "checker", "checkers", "keywords", "length", "manner", "shape"]
