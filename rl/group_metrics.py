"""What a step's groups say about the climb, as numbers under one naming scheme.

    pass_rate/trained         of all groups
    pass_rate/trained/NAME    of those of one environment, where there are several

Text that a model wrote names no metric: a tool counts by its name where the task offers it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import fields
from statistics import fmean, pstdev

from munro.envs.types import Ending
from munro.rewards.combine.compose import RewardBreakdown
from munro.rewards.combine.watch import FAILED, SEEN
from munro.rl.control.tally import of_each
from munro.rl.state import ClimbState
from munro.rollout.types import Attempt, Group

MOST_PARTS = 32
"""Names of grade parts that become metrics: a grader may make up a name for every test."""
OTHER = "none of them"
"""What calls of tools that the task does not offer count as."""


def group_metrics(
    groups: Sequence[Group], state: ClimbState, *, several: bool = False
) -> dict[str, float]:
    """Figures of the trained groups: rewards by part, lengths, truncation, staleness.

    Args:
        groups: at least one group.
        state: before the step; staleness counts from its policy version.
        several: tasks come from several environments: each one's figures are there too.
    """
    found = _figures(groups, state)
    found |= {"length/stage": state.stage, "policy/k": state.clip.widening}
    if not several:
        return found
    names = sorted({group.task.env for group in groups})
    return found | of_each(
        {name: _figures([g for g in groups if g.task.env == name], state) for name in names}
    )


def _figures(groups: Sequence[Group], state: ClimbState) -> dict[str, float]:
    attempts = [attempt for group in groups for attempt in group.attempts]
    lengths = [attempt.trajectory.num_sampled for attempt in attempts]
    ages = [state.age(group.oldest_version) for group in groups]
    found = _rewards(attempts)
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
    }
    if any(group.num_resumed for group in groups):
        found["rollout/resumed"] = sum(g.num_resumed for g in groups) / len(attempts)
    found |= _episodes(groups) | _watched(attempts)
    return found | {f"staleness/hist/{age}": n for age, n in sorted(Counter(ages).items())}


def _episodes(groups: Sequence[Group]) -> dict[str, float]:
    """Turns, endings and calls, of groups whose attempts may take more than one turn."""
    groups = [group for group in groups if group.task.tools or _takes_turns(group)]
    attempts = [attempt for group in groups for attempt in group.attempts]
    if not attempts:
        return {}
    endings = Counter(attempt.trajectory.ending for attempt in attempts)
    found = {"response/turns": fmean(map(_num_turns, attempts))}
    found |= {f"response/ended/{end}": endings[end] / len(attempts) for end in Ending}
    forks = [attempt.trajectory.forks for attempt in attempts]
    if any(forks):
        found["response/runs"] = fmean(len(each) + 1 for each in forks)
        found["response/branched"] = fmean(map(bool, forks))
    calls = [record for attempt in attempts for record in attempt.trajectory.calls]
    if not any(group.task.tools for group in groups) and not calls:
        return found
    found["calls/per_attempt"] = len(calls) / len(attempts)
    found["calls/failed"] = sum(not one.ok for one in calls) / max(len(calls), 1)
    found["calls/malformed"] = sum(one.is_malformed for one in calls) / max(len(calls), 1)
    spent: defaultdict[str, float] = defaultdict(float)
    for group in groups:
        offered = {str(tool.get("function", tool).get("name")) for tool in group.task.tools}
        for attempt in group.attempts:
            for record in attempt.trajectory.calls:
                spent[record.name if record.name in offered else OTHER] += record.seconds
    for name in sorted(spent, key=spent.__getitem__, reverse=True)[:MOST_PARTS]:
        found[f"calls/seconds/{name}"] = spent[name] / len(attempts)
    return found


def _takes_turns(group: Group) -> bool:
    return any(_num_turns(attempt) > 1 for attempt in group.attempts)


def _num_turns(attempt: Attempt) -> int:
    ours = [one for one in attempt.trajectory.messages if one.role == "assistant"]
    return sum(message.is_sampled for message in ours) or len(ours)


def _rewards(attempts: Sequence[Attempt]) -> dict[str, float]:
    """Mean of every part of the reward, and of the parts of which graders made the task's.

    A part that only some attempts have (it stands behind a gate, or another environment knows
    nothing of it) is averaged over those.
    """
    own = [part.name for part in fields(RewardBreakdown)]
    found = {f"reward/{part}": fmean(getattr(a.reward, part) for a in attempts) for part in own}
    names = dict.fromkeys(
        name for attempt in attempts for name in attempt.grade.parts if not _is_second(name)
    )
    for name in sorted(names)[:MOST_PARTS]:
        values = [a.grade.parts[name] for a in attempts if name in a.grade.parts]
        found[f"reward/{name if name not in own else f'{name}_grade'}"] = fmean(values)
    return found


def _is_second(name: str) -> bool:
    """Whether a part is what a second, unpaid judge says (`munro.rewards.combine.watch`)."""
    return name.endswith((f"/{SEEN}", f"/{FAILED}"))


def _watched(attempts: Sequence[Attempt]) -> dict[str, float]:
    """What is paid and what a second judge says, over the attempts that both have seen."""
    found: dict[str, float] = {}
    parts = [attempt.grade.parts for attempt in attempts]
    asked = dict.fromkeys(name for each in parts for name in each if name.endswith(f"/{FAILED}"))
    for name in (each.removesuffix(f"/{FAILED}") for each in asked):
        seen, failed = f"{name}/{SEEN}", f"{name}/{FAILED}"
        found[f"watch/{name}/failed"] = sum(each.get(failed, 0.0) for each in parts)
        both = [(each[name], each[seen]) for each in parts if seen in each and name in each]
        found[f"watch/{name}/attempts"] = len(both)
        if both:
            paid, watched = (fmean(column) for column in zip(*both, strict=True))
            found[f"watch/{name}/paid"] = paid
            found[f"watch/{name}/watched"] = watched
            found[f"watch/{name}/difference"] = paid - watched
    return found
