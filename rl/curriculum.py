"""How long a response may be: one cap a stage, raised when too many responses hit it.

MAI-Thinking-1 report, section 3.1.4: the cap doubles from stage to stage (8k to 128k). What ends a
stage is not stated there; here it is the share of truncated responses. A budget by difficulty
inside a stage is an option of ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from munro.rl.config import LengthConfig


def next_stage(stage: int, history: Sequence[float], config: LengthConfig) -> int:
    """The stage after a step: the same, or the one above.

    Args:
        stage: index into `config.stages`.
        history: truncation rate of each step of this stage so far, newest last, in [0, 1]. Only
            the last `config.patience` count; with fewer, the stage goes on.
        config: stages, trigger and patience.
    """
    is_last = stage + 1 >= len(config.stages)
    if is_last or len(history) < config.patience:
        return stage
    truncated = fmean(history[-config.patience :])
    return stage + (truncated > config.truncation_trigger)


def response_cap(config: LengthConfig, stage: int, last_pass_rate: float | None = None) -> int:
    """Tokens a response to this task may have; at least 1.

    With `budget = "difficulty"` the easiest task (pass rate 1) gets `difficulty_floor` of the
    stage's cap, the hardest (pass rate 0) all of it, linearly in between. A task never seen gets
    all of it.

    Args:
        config: stages, budget and floor.
        stage: index into `config.stages`.
        last_pass_rate: of this task, in [0, 1]; None when it was never measured.
    """
    cap = config.stages[stage]
    if config.budget == "stage" or last_pass_rate is None:
        return cap
    floor = config.difficulty_floor
    return max(1, round(cap * (floor + (1 - floor) * (1 - last_pass_rate))))
