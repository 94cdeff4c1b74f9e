"""Programs: found in a reply, run against tests in a sandbox, compared outside of it."""

from __future__ import annotations

from munro.rewards.code.extract import completed, extract
from munro.rewards.code.grader import (
    CodeGrader,
    Limits,
    Reward,
    changed_limits,
    close,
    configure,
    refuse_unusable,
    require,
    run_tests,
)
from munro.rewards.code.languages import LANGUAGES
from munro.rewards.code.tests_as_data import Call, Case, Check, Test, from_data

__all__ = [
    "LANGUAGES",
    "Call",
    "Case",
    "Check",
    "CodeGrader",
    "Limits",
    "Reward",
    "Test",
    "changed_limits",
    "close",
    "completed",
    "configure",
    "extract",
    "from_data",
    "refuse_unusable",
    "require",
    "run_tests",
]
