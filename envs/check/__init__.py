"""Try an environment before any GPU is paid for: `munro env check`.

It is loaded twice, its tasks are compared, and real episodes are played: gold must pass; silence,
junk, a policy that does nothing and one that calls tools at random must fail. Whatever is wrong is
said in one line.
"""

from __future__ import annotations

from munro.envs.check.exam import JUNK, NOOP
from munro.envs.check.playing import Played, gold_of, play, played
from munro.envs.check.report import NOT_COUNTED, CheckReport, check, check_config

__all__ = [
    "JUNK",
    "NOOP",
    "NOT_COUNTED",
    "CheckReport",
    "Played",
    "check",
    "check_config",
    "gold_of",
    "play",
    "played",
]
