"""Results as tests write them."""

from __future__ import annotations

import numpy as np

from munro.evaluation.results import Results
from munro.evaluation.types import AttemptRow


def kept(folder, passed_NR, *, entry="sums", names=None, sampling=None, asked=None, **more):
    """Verdicts [N, R] as a folder of results; `asked` is what its suite says of the entry."""
    passed_NR = np.asarray(passed_NR, dtype=bool)
    results = Results(folder)
    names = names or [f"t{number:04d}" for number in range(len(passed_NR))]
    if sampling or asked:
        of = {"tasks": len(names), "runs": passed_NR.shape[1]} | (asked or {})
        results.begin({"model": str(folder), "entries": {entry: of | {"sampling": sampling or {}}}})
    results.add(
        AttemptRow(
            entry=entry,
            task=names[task],
            run=run,
            seed=run,
            passed=bool(passed),
            reward=float(passed),
            **{key: of(task) if callable(of) else of for key, of in more.items()},
        )
        for (task, run), passed in np.ndenumerate(passed_NR)
    )
    return results
