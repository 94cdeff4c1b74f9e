"""What a climb takes of time, bytes and luck: each figure one formula of a `Job`."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, sqrt

from munro.machine.planning.job import Job
from munro.machine.planning.memory import cache_bytes, sequence_bytes, server_weights
from munro.rl.control.in_flight import Room, by_engines, by_staleness

BUCKET = 256 * (1 << 20)
"""Bytes that a transfer packs, sends and unpacks at a time, where nobody says otherwise."""
BUCKET_S = 1e-3
"""Seconds that each takes whatever its size: an assumption, ten launches and a rendezvous."""
CHECKPOINT_BYTES = 12
"""Float32 weights and AdamW's two moments, a parameter."""


# --- sampling


def resident_tokens(job: Job) -> float:
    """Tokens that an attempt in flight has so far, in the mean: long ones are met more often."""
    return job.plan.prompt_tokens + job.lengths.moment(2) / job.lengths.moment(1) / 2


def attempt_bytes(job: Job) -> float:
    """Of the keys and values of an attempt in flight, in the mean."""
    return sequence_bytes(job, resident_tokens(job))


def slots(job: Job) -> int:
    """Attempts that all servers can have under way: their batches, and their room."""
    rollout = job.config.rollout
    room = cache_bytes(job) * rollout.tensor_parallel / max(attempt_bytes(job), 1.0)
    return rollout.servers * int(min(rollout.max_batch, room))


def groups_in_flight(job: Job) -> int:
    """Groups that may be open at once."""
    config, rollout = job.config, job.config.rollout
    if not config.sync.max_staleness:
        return config.batch.num_groups * config.sync.every_steps
    if rollout.groups_in_flight != "auto":
        return rollout.workers * rollout.groups_in_flight
    room = Room(tokens=None, sequences=slots(job))
    return min(by_engines(room, rollout.group_size, resident_tokens(job)), by_staleness(config))


def token_ms(job: Job) -> tuple[float, float]:
    """(a, b): milliseconds of a token, a + b x sequences per GPU.

    As it is given; else by what must be read for a token: the weights once, each sequence's keys
    and values (of a mixture, all experts: a large batch meets every one).
    """
    if job.plan.token_ms is not None:
        return job.plan.token_ms
    rate = job.hardware.memory_rate * job.plan.link_share
    return 1e3 * server_weights(job) / rate, 1e3 * attempt_bytes(job) / rate


def produced_per_trained(job: Job) -> float:
    """Attempts sampled for one that is trained on, by the gates."""
    rollout, early, full = job.config.rollout, job.plan.pass_early, job.plan.pass_full
    later = rollout.group_size - (rollout.num_early if rollout.reuse_early else 0)
    started = rollout.num_early / (early * full) + later / full
    return started / (later + (rollout.num_early if rollout.reuse_early else 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """The servers in a steady state, as far as a closed form goes: means, no queues."""

    attempts: float
    """Under way at once: few of a group are left while it waits for its longest."""
    tokens_per_s: float
    """Of all servers."""
    groups_per_s: float
    """That pass both gates."""
    group_s: float
    """From a group's first token to its last."""


def sampling(job: Job) -> Sampling:
    """What the servers make of the groups in flight."""
    rollout, lengths, gate = job.config.rollout, job.lengths, job.plan.pass_early
    later = rollout.group_size - (rollout.num_early if rollout.reuse_early else 0)
    early_waits, late_waits = lengths.longest_of(rollout.num_early), lengths.longest_of(later)
    waited = early_waits + gate * late_waits
    made = (rollout.num_early + gate * later) * lengths.moment(1)
    a, b = token_ms(job)
    attempts = min(groups_in_flight(job) * made / waited, slots(job))
    token_s = (a + b * attempts / job.server_gpus) / 1e3
    tokens_per_s = attempts / token_s
    return Sampling(
        attempts=attempts,
        tokens_per_s=tokens_per_s,
        groups_per_s=tokens_per_s / made * gate * job.plan.pass_full,
        group_s=(early_waits + late_waits) * token_s,
    )


# --- learning


def step_tokens(job: Job) -> float:
    """Tokens that one optimizer step learns from, prompts left out."""
    return job.config.batch.num_groups * job.config.rollout.group_size * job.lengths.moment(1)


def flops_per_token(job: Job) -> float:
    """Of training; a token's context is that of a response met by its tokens, long ones more."""
    return job.sizes.flops_per_token(
        job.plan.prompt_tokens + job.lengths.moment(2) / job.lengths.moment(1)
    )


def learner_tokens_per_s(job: Job) -> float:
    """Of one learner rank."""
    return job.plan.utilisation * job.hardware.flops / flops_per_token(job)


def train_s(job: Job) -> float:
    """Of one optimizer step, its groups being there."""
    return step_tokens(job) / (learner_tokens_per_s(job) * job.cut.ranks)


# --- weights on their way


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """Bytes and seconds of one weight update."""

    egress: float
    """Bytes out of each learner rank."""
    ingress: float
    """Bytes into each GPU of a server."""
    bound_s: float
    """No faster by any means."""
    estimate_s: float


def transfer(job: Job, *, relayed: bool | None = None) -> Transfer:
    """Weights from learner to all servers, each GPU receiving its own part once.

    Args:
        job: what is planned.
        relayed: servers hand on to servers what the learner sent to the first; as `sync.relay`
            says unless given.
    """
    total = float(job.hardware.word * job.sizes.parameters)
    relayed = job.config.sync.relay != "none" if relayed is None else relayed
    servers = 1 if relayed else job.config.rollout.servers
    return moved(
        total,
        sources=job.cut.ranks,
        into=job.config.rollout.tensor_parallel,
        servers=servers,
        link=job.hardware.nvlink if job.gpus <= job.hardware.domain else job.hardware.nic,
        memory_rate=job.hardware.memory_rate,
        share=job.plan.link_share,
        bucket=job.config.sync.bucket_mib << 20,
    )


def moved(
    total: float,
    *,
    sources: int,
    into: int,
    servers: int,
    link: float,
    memory_rate: float,
    share: float,
    bucket: int = BUCKET,
) -> Transfer:
    """The formula behind `transfer`.

    Args:
        total: bytes of the model.
        sources: GPUs that hold it once, in parts.
        into: GPUs that each server holds it in, in parts.
        servers: that the sources send to.
        link: bytes a second of one GPU, one way.
        memory_rate: bytes a second of its memory: what arrives is written, and read before.
        share: of the link that is reached.
        bucket: bytes that are packed, sent and unpacked at a time.
    """
    egress, ingress = total * servers / sources, total / into
    bound = max(egress / link, ingress / link, 2 * ingress / memory_rate)
    buckets = ceil(max(egress, ingress) / bucket)
    return Transfer(
        egress=egress,
        ingress=ingress,
        bound_s=bound,
        estimate_s=bound / share + buckets * BUCKET_S,
    )


# --- checkpoints and failures


@dataclass(frozen=True, slots=True, kw_only=True)
class Saving:
    """Checkpoints of the learner."""

    total: float
    """Bytes."""
    stall_s: float
    """Until the host has a copy; training waits."""
    write_s: float
    """Until it is stored; training goes on."""
    interval_s: tuple[float, float]
    """Between checkpoints, by Young's formula, at the worst and the best failure rate."""


def saving(job: Job) -> Saving:
    """What a checkpoint costs and how often one pays (Young 1974: sqrt(2 x cost x MTTF))."""
    total = float(CHECKPOINT_BYTES * job.sizes.parameters)
    stall = total / job.cut.shards / job.hardware.host
    write = total / (job.plan.store_gb_s * 1e9)
    low, high = job.hardware.failure_s(job.cut.ranks)
    # one in flight at most, so never closer than a write takes
    at_worst, at_best = (max(write, sqrt(2 * stall * mttf)) for mttf in (low, high))
    return Saving(total=total, stall_s=stall, write_s=write, interval_s=(at_worst, at_best))


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One optimizer step in the long run, and what becomes of the time."""

    waits_for: str
    """What sets the pace: "the learner" or "the groups"."""
    seconds: float
    train_s: float
    sync_s: float
    """A weight update's share."""
    stall_s: float
    """A checkpoint's share."""
    failures_s: tuple[float, float]
    """Failures' share: coming back, and steps taken again, at the worst and the best rate."""

    @property
    def learner_busy(self) -> float:
        """Share of the time that the learner computes."""
        return self.train_s / self.seconds

    @property
    def goodput(self) -> tuple[float, float]:
        """Share of the wall-clock that is left without failures, stalls and syncs."""
        spent = self.sync_s + self.stall_s
        worst, best = (1 - (spent + lost) / (self.seconds + lost) for lost in self.failures_s)
        return worst, best


def step(job: Job) -> Step:
    """The steady state by its slowest part; queues and waits on single groups are `simulate`'s."""
    config = job.config
    train = train_s(job)
    sync = transfer(job).estimate_s / config.sync.every_steps
    stall = saving(job).stall_s / config.checkpoint.every_steps
    groups = config.batch.num_groups / sampling(job).groups_per_s
    learner = train + sync + stall
    if config.sync.max_staleness:
        seconds, waits_for = max((learner, "the learner"), (groups, "the groups"))
    else:
        seconds, waits_for = learner + groups, "both in turn"
    lost = [
        seconds / mttf * (job.plan.learner_down_s + config.checkpoint.every_steps * seconds / 2)
        for mttf in job.hardware.failure_s(job.cut.ranks)
    ]
    return Step(
        waits_for=waits_for,
        seconds=seconds,
        train_s=train,
        sync_s=sync,
        stall_s=stall,
        failures_s=(lost[0], lost[1]),
    )


# --- the driver


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """What passes through the driver and the rollout store, a second."""

    tasks_per_s: float
    token_bytes: float
    """Of one token in the rollout store: its id, log-probability, version and flag, its nucleus,
    and its experts in every mixture."""
    bytes_per_s: float
    """Of records, wherever they are kept."""


NUCLEUS = 4
"""Tokens of a nucleus of 0.97 in the mean, as recorded by our climbs: an assumption elsewhere."""


def driver(job: Job) -> Driver:
    """At the pace of `step`."""
    mixtures = sum(layer.experts > 0 for layer in job.sizes.layers)
    top_k = max(layer.top_k for layer in job.sizes.layers)
    nucleus = 4 * NUCLEUS if job.config.rollout.top_p < 1 else 0
    each = 4 + 4 + 4 + 1 + nucleus + 2 * top_k * mixtures
    pace = 1 / step(job).seconds
    tasks = job.config.batch.num_groups / (job.plan.pass_early * job.plan.pass_full)
    return Driver(
        tasks_per_s=tasks * pace, token_bytes=each, bytes_per_s=step_tokens(job) * each * pace
    )
