"""Simulated climbs: one, or a table of how GPUs are shared out and how much is in flight."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from munro.machine.errors import BadConfig
from munro.machine.planning.job import Job
from munro.machine.planning.page import large, line
from munro.machine.planning.scenario import Outcome, Scenario, scenario_of
from munro.machine.planning.simulate import Climb

STEPS = 60
"""Of a simulated climb; figures are of the second half, for ages grow slowly."""
DEPTHS = (0.25, 0.5, 1.0, 1.5)
"""Times the groups in flight of the recipe, where a sweep names none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """What is varied.

    Example:
        sweep_of(["ratio=2:1,5:1", "groups=512,1024"])
    """

    ratios: tuple[float, ...] = ()
    """Inference GPUs to one of the learner, of as many GPUs as the plan has."""
    groups: tuple[int, ...] = ()
    """In flight."""


def sweep_of(words: Sequence[str]) -> Sweep | None:
    """Read `--sweep NAME=VALUE,VALUE`; None where there is none.

    Raises:
        BadConfig: it names nothing that can be swept, or its values are no numbers above 0.
    """
    if not words:
        return None
    found: dict[str, tuple[float, ...]] = {}
    for word in words:
        name, _, values = word.partition("=")
        if name not in ("ratio", "groups"):
            raise BadConfig(
                f"--sweep {word}: give ratio=2:1,5:1 (inference to learner GPUs) or "
                "groups=512,1024 (groups in flight)"
            )
        try:
            found[name] = tuple(_number(value) for value in values.split(","))
        except (ValueError, ZeroDivisionError):
            found[name] = ()
        if not found[name] or min(found[name]) <= 0:
            raise BadConfig(f"--sweep {word}: give numbers above 0, as in --sweep {name}=1,2,5")
    groups = tuple(int(number) for number in found.get("groups", ()))
    return Sweep(ratios=found.get("ratio", ()), groups=groups)


def _number(text: str) -> float:
    first, _, second = text.partition(":")
    return float(first) / float(second or 1)


def simulated(job: Job) -> Iterator[str]:
    """The plan's own climb, with queues, stragglers and failures."""
    scenario = scenario_of(job, num_steps=STEPS)
    out = Climb(scenario).run()
    if not out.steps:
        yield line("simulated", "no step within 30 days: too little is in flight, or passes")
        return
    mean, most = out.staleness
    yield line(
        "simulated",
        f"{len(out.steps)} steps, seed {scenario.seed}: {out.steps_per_hour:,.1f} steps/h, the "
        f"learner busy {out.learner_busy:.0%}, {large(out.attempts_under_way)} attempts under way, "
        f"{out.gpu_hours_per_step:,.3g} GPU-hours a step",
    )
    yield line(
        "",
        f"staleness {mean:.1f} updates in the mean, {most} for 99 of 100 (bound "
        f"{scenario.max_staleness}); {out.dropped_share:.1%} of groups dropped for age, "
        f"{out.lost_share:.2%} of tokens lost with servers, {out.redone} steps taken again",
    )


def swept(job: Job, sweep: Sweep) -> Iterator[str]:
    """A line for each way to share out the GPUs and each number of groups in flight."""
    mine = scenario_of(job, num_steps=STEPS)
    depths = sweep.groups or tuple(max(1, round(part * mine.in_flight)) for part in DEPTHS)
    yield ""
    yield (
        f"{'inference : learner':>20}{'in flight':>11}{'learner busy':>14}{'steps/h':>9}"
        f"{'GPU-h/step':>12}{'staleness':>11}{'99%':>5}{'dropped':>9}"
    )
    rows: list[tuple[Scenario, Outcome, str]] = []
    for ratio in sweep.ratios or (job.server_gpus / job.cut.ranks,):
        shared, split = _shared_out(job, mine, ratio)
        for depth in depths:
            scenario = replace(shared, in_flight=depth)
            out = Climb(scenario).run()
            rows.append((scenario, out, f"{split} with {depth:,} groups in flight"))
            yield _row(split, depth, out)
    yield from _read(job, rows)


def _shared_out(job: Job, mine: Scenario, ratio: float) -> tuple[Scenario, str]:
    """The same GPUs, otherwise shared out in whole servers."""
    each = job.config.rollout.tensor_parallel
    servers = round(job.gpus * ratio / (1 + ratio) / each)
    ranks = job.gpus - servers * each
    if servers < 1 or ranks < 1:
        raise BadConfig(
            f"--sweep ratio={ratio:g}: {job.gpus} GPUs in servers of {each} cannot be shared out "
            "so; give a ratio that leaves a server and a learner rank"
        )
    changed = replace(
        mine,
        servers=servers,
        trained_s=mine.trained_s * job.cut.ranks / ranks,
        learner_failures_per_s=mine.learner_failures_per_s * ranks / job.cut.ranks,
    )
    return changed, f"{servers * each:,} : {ranks:,}"


def _row(split: str, depth: int, out: Outcome) -> str:
    mean, most = out.staleness
    return (
        f"{split:>20}{depth:>11,}{out.learner_busy:>14.0%}{out.steps_per_hour:>9.1f}"
        f"{out.gpu_hours_per_step:>12.1f}{mean:>11.1f}{most:>5}{out.dropped_share:>9.1%}"
    )


def _read(job: Job, rows: list[tuple[Scenario, Outcome, str]]) -> Iterator[str]:
    """What the table says, and what it rests on."""
    best = max(rows, key=lambda row: row[1].steps_per_hour)
    bound, (_, most) = best[0].max_staleness, best[1].staleness
    yield ""
    yield (
        f"Fastest of these: {best[2]}, {best[1].steps_per_hour:.1f} steps/h. The learner is busy "
        f"{best[1].learner_busy:.0%}, and 99 of 100 groups are at most {most} updates old, under a "
        f"bound of {bound}."
    )
    line_is = "given in [plan]" if job.plan.token_ms else "reckoned from memory bandwidth"
    yield (
        f"This rests on the line of a token's time, {line_is}: measure yours before you buy by it."
    )
