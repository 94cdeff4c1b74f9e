"""What a step's groups say about the climb, as numbers under one naming scheme.

    pass_rate/trained         of all groups
    pass_rate/trained/NAME    of those of one environment, where there are several

Text that a model wrote names no metric: a tool counts by its name where the task offers it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import chain
from statistics import fmean, pstdev

from munro.envs.types import Ending
from munro.rewards.combine.watch import FAILED, SEEN
from munro.rl.control.tally import of_each
from munro.rl.state import ClimbState
from munro.rollout.telling import ENDINGS, MOST_PARTS, OTHER, REWARDS, figure
from munro.rollout.types import Outcome

__all__ = ["MOST_PARTS", "OTHER", "group_metrics"]


def group_metrics(
    groups: Sequence[Outcome], state: ClimbState, *, several: bool = False
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
    names = sorted({group.env for group in groups})
    return found | of_each(
        {name: _figures([g for g in groups if g.env == name], state) for name in names}
    )


def _figures(groups: Sequence[Outcome], state: ClimbState) -> dict[str, float]:
    lengths = _all(groups, "sampled")
    ages = [state.age(group.oldest_version) for group in groups]
    found = _rewards(groups)
    found |= {
        "reward/std": fmean(pstdev(figure(group, "total")) for group in groups),
        "pass_rate/trained": fmean(_pass_rates(groups)),
        "response/length": fmean(lengths),
        "response/length_max": int(max(lengths)),
        "response/truncated": fmean(end.is_truncated for end in _endings(groups)),
        "rollout/nucleus_cut": sum(_all(groups, "cut")) / max(sum(lengths), 1),
        "groups/trained": len(groups),
        "staleness/mean": fmean(ages),
        "staleness/max": max(ages),
    }
    if any(group.num_resumed for group in groups):
        found["rollout/resumed"] = sum(g.num_resumed for g in groups) / len(lengths)
    found |= _episodes(groups) | _watched(groups)
    return found | {f"staleness/hist/{age}": n for age, n in sorted(Counter(ages).items())}


def _all(groups: Sequence[Outcome], name: str) -> list[float]:
    """A figure of every attempt of all groups."""
    return list(chain.from_iterable(figure(group, name) for group in groups))


def _endings(groups: Sequence[Outcome]) -> list[Ending]:
    return [ENDINGS[int(number)] for number in _all(groups, "ending")]


def _pass_rates(groups: Sequence[Outcome]) -> Iterator[float]:
    return (group.pass_rate for group in groups if group.pass_rate is not None)


def _episodes(groups: Sequence[Outcome]) -> dict[str, float]:
    """Turns, endings and calls, of groups whose attempts may take more than one turn."""
    groups = [one for one in groups if one.offers_tools or max(figure(one, "turns")) > 1]
    if not groups:
        return {}
    turns, endings = _all(groups, "turns"), Counter(_endings(groups))
    found = {"response/turns": fmean(turns)}
    found |= {f"response/ended/{end}": endings[end] / len(turns) for end in Ending}
    forks = _all(groups, "forks")
    if any(forks):
        found["response/runs"] = fmean(each + 1 for each in forks)
        found["response/branched"] = fmean(map(bool, forks))
    num = sum(group.calls.num for group in groups)
    if not any(group.offers_tools for group in groups) and not num:
        return found
    found["calls/per_attempt"] = num / len(turns)
    found["calls/failed"] = sum(group.calls.failed for group in groups) / max(num, 1)
    found["calls/malformed"] = sum(group.calls.malformed for group in groups) / max(num, 1)
    spent: defaultdict[str, float] = defaultdict(float)
    for group in groups:
        for name, seconds in group.calls.seconds.items():
            spent[name] += seconds
    for name in sorted(spent, key=spent.__getitem__, reverse=True)[:MOST_PARTS]:
        found[f"calls/seconds/{name}"] = spent[name] / len(turns)
    return found


def _rewards(groups: Sequence[Outcome]) -> dict[str, float]:
    """Mean of every part of the reward, and of the parts of which graders made the task's.

    A part that only some attempts have (it stands behind a gate, or another environment knows
    nothing of it) is averaged over those.
    """
    found = {f"reward/{part}": fmean(_all(groups, part)) for part in REWARDS}
    names = {name for group in groups for name in group.parts if not _is_second(name)}
    for name in sorted(names)[:MOST_PARTS]:
        values = [
            value for group in groups for value in group.parts.get(name, ()) if value is not None
        ]
        found[f"reward/{name if name not in REWARDS else f'{name}_grade'}"] = fmean(values)
    return found


def _is_second(name: str) -> bool:
    """Whether a part is what a second, unpaid judge says (`munro.rewards.combine.watch`)."""
    return name.endswith((f"/{SEEN}", f"/{FAILED}"))


def _watched(groups: Sequence[Outcome]) -> dict[str, float]:
    """What is paid and what a second judge says, over the attempts that both have seen."""
    found: dict[str, float] = {}
    asked = dict.fromkeys(n for group in groups for n in group.parts if n.endswith(f"/{FAILED}"))
    for name in (each.removesuffix(f"/{FAILED}") for each in asked):
        failed = [value for g in groups for value in g.parts.get(f"{name}/{FAILED}", ())]
        found[f"watch/{name}/failed"] = sum(value or 0.0 for value in failed)
        both = [
            pair
            for g in groups
            for pair in zip(g.parts.get(name, ()), g.parts.get(f"{name}/{SEEN}", ()), strict=False)
            if None not in pair
        ]
        found[f"watch/{name}/attempts"] = len(both)
        if both:
            paid, watched = (fmean(column) for column in zip(*both, strict=True))
            found[f"watch/{name}/paid"] = paid
            found[f"watch/{name}/watched"] = watched
            found[f"watch/{name}/difference"] = paid - watched
    return found
