"""One task, many attempts, and whether the learner should see them.

    task ──► early attempts ──► gate ──► full group ──► gate ──► rewards ──► Group
                                  └──────────┬────────────┘
                                             └──► Abandoned, with its reason

Report, sections 3.1.2 and 3.6.2. `worker` conducts; `attempts` plays one attempt, again where
machinery fails; `asking` calls into environments; `gates` judges pass rates; `scoring` turns
grades into rewards.
"""

from __future__ import annotations

from munro.rollout.problem.worker import ProblemWorker

__all__ = ["ProblemWorker"]
