"""Tasks from a git repository: pull requests mined, split, run, proven solvable and scrubbed.

    repository ──► mine ──► split ──► prepare ──► validate ──► leaks ──► a task's folder
                   merges   code |    wheels of   three runs   every visible file
                            tests     that date   each

Also made bugs (`bugs`) and removed functions (`functions`), which go the same way. A library for
`munro swe build | bugs | functions`; `munro.envs.swe` plays what it makes.
"""

from __future__ import annotations

from munro.envs.swe_build.errors import BadRepository

__all__ = ["BadRepository"]
