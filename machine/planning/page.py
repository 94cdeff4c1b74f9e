"""A plan on a page, for a person."""

from __future__ import annotations

from collections.abc import Iterator

from munro.machine.planning import cost
from munro.machine.planning.job import Job
from munro.machine.planning.memory import (
    amount,
    cache_bytes,
    learner_memory,
    micro_tokens,
    parts,
    sequence_bytes,
    server_weights,
)

CEILINGS = {"tasks": 1000.0, "bytes": 100e6}
"""A second: tasks that the driver is made sure to bear, and records that one process was seen to
write (0.04 to 0.25 million tokens of 652 bytes, on two busy cores)."""


def page(job: Job) -> str:
    """Every figure that a formula gives."""
    return "\n".join(
        line
        for lines in (_what(job), _learner(job), _servers(job), _pace(job), _besides(job))
        for line in lines
    )


def line(name: str, text: str) -> str:
    """A line of the page; further ones of the same matter have no name."""
    return f"{name:<10}{text}"


def _what(job: Job) -> Iterator[str]:
    sizes, cut, rollout = job.sizes, job.cut, job.config.rollout
    experts = f", {sizes.experts / sizes.parameters:.0%} of them experts'" if sizes.experts else ""
    yield line(
        "model",
        f"{sizes.name}: {large(sizes.parameters)} parameters, {large(sizes.active)} for a "
        f"token{experts}",
    )
    unit = "GPUs" if job.hardware.on_gpu else "processes"
    yield line(
        "hardware",
        f"{job.gpus:,} {unit} of {job.hardware.kind}: {rollout.servers} server(s) of "
        f"{rollout.tensor_parallel}, {cut.ranks} learner rank(s)"
        + (f", {job.server_gpus / cut.ranks:.3g} to 1" if not job.config.ray.colocate else ""),
    )
    if cut.ranks > 1:
        mesh = f"{cut.shards} shards of every weight"
        mesh += f", {cut.replicate} times" if cut.replicate > 1 else ""
        mesh += f"; {cut.context} ranks a sequence" if cut.context > 1 else ""
        mesh += f"; experts over {cut.experts}" if cut.experts > 1 else ""
        yield line("", mesh)
    lengths = job.lengths
    said = "as [plan] says" if job.plan.mean_tokens else "assumed: say plan.mean_tokens"
    yield line(
        "answers",
        f"{lengths.moment(1):,.0f} tokens in the mean ({said}), log-spread {lengths.spread:g}, at "
        f"most {lengths.cap:,}; the longest of {rollout.group_size} about "
        f"{lengths.longest_of(rollout.group_size):,.0f}",
    )


def _learner(job: Job) -> Iterator[str]:
    memory = learner_memory(job)
    yield line(
        "learner",
        f"{amount(sum(memory.values()))} a rank, of {amount(job.hardware.memory)}: {parts(memory)}",
    )
    yield line(
        "",
        f"{micro_tokens(job):,} tokens in a micro-batch; {cost.flops_per_token(job):.3g} "
        f"operations a token, {cost.learner_tokens_per_s(job):,.0f} tokens/s a rank at "
        f"{job.plan.utilisation:.0%} of {job.hardware.flops / 1e12:,.4g} TFLOP/s (assumed)",
    )
    yield line(
        "",
        f"{large(cost.step_tokens(job))} tokens a step: {duration(cost.train_s(job))}",
    )


def _servers(job: Job) -> Iterator[str]:
    rollout = job.config.rollout
    yield line(
        "servers",
        f"{amount(server_weights(job))} of weights a GPU, {amount(cache_bytes(job))} for keys "
        f"and values; {amount(cost.attempt_bytes(job))} an attempt in the mean, "
        f"{amount(sequence_bytes(job, job.plan.prompt_tokens + job.lengths.cap))} at the cap",
    )
    a, b = cost.token_ms(job)
    said = "as [plan] says" if job.plan.token_ms else "reckoned from its memory's bandwidth"
    found = cost.sampling(job)
    yield line(
        "",
        f"a token in {a:.3g} ms + {b:.3g} ms for each sequence on a GPU ({said}); room for "
        f"{cost.slots(job):,} attempts",
    )
    yield line(
        "sampling",
        f"{cost.groups_in_flight(job):,} groups of {rollout.group_size} in flight keep "
        f"{found.attempts:,.0f} attempts under way: {large(found.tokens_per_s)} tokens/s, a group "
        f"in {duration(found.group_s)}, {3600 * found.groups_per_s:,.0f} groups/h pass",
    )
    yield line(
        "",
        f"{cost.produced_per_trained(job):.2f} attempts sampled for each that is trained on (gates "
        f"let {job.plan.pass_early:g} and {job.plan.pass_full:g} through: assumed)",
    )


def _pace(job: Job) -> Iterator[str]:
    found = cost.step(job)
    per_hour = 3600 / found.seconds
    yield line(
        "pace",
        f"a step in {duration(found.seconds)}, for it waits for {found.waits_for}: {per_hour:,.1f} "
        f"an hour, {job.gpus / per_hour:,.3g} GPU-hours each; the learner is busy "
        f"{found.learner_busy:.0%}",
    )
    if not job.hardware.on_gpu:
        return
    worst, best = found.goodput
    low, high = job.hardware.failure_s(job.gpus)
    yield line(
        "failures",
        f"one in {duration(low)} to {duration(high)} among all, by published rates; goodput of the "
        f"learner {worst:.1%} to {best:.1%} (syncs, stalls, steps taken again)",
    )


def _besides(job: Job) -> Iterator[str]:
    direct, relayed = cost.transfer(job, relayed=False), cost.transfer(job, relayed=True)
    yield line(
        "weights",
        f"{amount(direct.egress)} out of each rank and {amount(direct.ingress)} into each "
        f"GPU: {duration(direct.bound_s)} at least, {duration(direct.estimate_s)} expected",
    )
    if job.config.rollout.servers > 1:
        yield line(
            "",
            f"handed on from server to server: {amount(relayed.egress)} out of each rank, "
            f"{duration(relayed.bound_s)} at least, {duration(relayed.estimate_s)} expected",
        )
    saved = cost.saving(job)
    soon, late = saved.interval_s
    every = job.config.checkpoint.every_steps * cost.step(job).seconds
    yield line(
        "saving",
        f"{amount(saved.total)}: training stands {duration(saved.stall_s)}, written in "
        f"{duration(saved.write_s)}; best every {duration(soon)} to {duration(late)}, and "
        f"checkpoint.every_steps = {job.config.checkpoint.every_steps} is every {duration(every)}",
    )
    found = cost.driver(job)
    yield line(
        "driver",
        f"{found.tasks_per_s:,.3g} tasks/s, and it bears {CEILINGS['tasks']:,.0f}; records of "
        f"{found.token_bytes:,.0f} bytes a token, {found.bytes_per_s / 1e6:,.3g} MB/s, "
        f"{writers(found.bytes_per_s)} to keep them",
    )


def writers(rate: float) -> str:
    """How many processes must write so many bytes a second."""
    number = max(1, -(-int(rate) // int(CEILINGS["bytes"])))
    return f"{number} writer(s) of {CEILINGS['bytes'] / 1e6:,.0f} MB/s"


def large(number: float) -> str:
    """A count for a person: 34.7B, 169M, 2,400."""
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M")):
        if number >= size:
            return f"{number / size:,.4g}{letter}"
    return f"{number:,.0f}" if number >= 10 else f"{number:.2g}"


def duration(seconds: float) -> str:
    """Seconds for a person: 12 ms, 1.5 s, 3.4 min, 7.9 h, 12 days."""
    for size, word in ((2 * 86_400, "days"), (5400, "h"), (120, "min")):
        if seconds >= size:
            return f"{seconds / {'days': 86_400, 'h': 3600, 'min': 60}[word]:,.1f} {word}"
    return f"{seconds:,.3g} s" if seconds >= 0.1 else f"{1e3 * seconds:,.3g} ms"
