"""What a step's groups say about the climb, as numbers under one naming scheme."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import fmean, pstdev

from rl.state import ClimbState
from rollout.types import Group


def group_metrics(groups: Sequence[Group], state: ClimbState) -> dict[str, float]:
    """Figures of the trained groups: rewards by part, lengths, truncation, staleness.

    Args:
        groups: at least one group.
        state: before the step; staleness counts from its policy version.
    """
    attempts = [attempt for group in groups for attempt in group.attempts]
    lengths = [attempt.trajectory.num_sampled for attempt in attempts]
    ages = [state.policy_version - group.oldest_version for group in groups]
    found = {
        f"reward/{part}": fmean(getattr(attempt.reward, part) for attempt in attempts)
        for part in ("total", "task", "language", "length")
    }
    found |= {
        "reward/std": fmean(pstdev([a.reward.total for a in group.attempts]) for group in groups),
        "pass_rate/trained": fmean(group.pass_rate for group in groups),
        "response/length": fmean(lengths),
        "response/length_max": max(lengths),
        "response/truncated": fmean(a.trajectory.ending.is_truncated for a in attempts),
        "rollout/nucleus_cut": sum(a.trajectory.num_cut for a in attempts) / max(sum(lengths), 1),
        "groups/trained": len(groups),
        "staleness/mean": fmean(ages),
        "staleness/max": max(ages),
        "length/stage": state.stage,
        "policy/k": state.clip.widening,
    }
    return found | {f"staleness/hist/{age}": n for age, n in sorted(Counter(ages).items())}
