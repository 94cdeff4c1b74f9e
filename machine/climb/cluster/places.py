"""What is set aside for a climb on its Ray cluster: all of it at once, or nothing.

A group for the learner, on one node where one has room, one for each server, one for the workers.
Two climbs that each held half of what they need would wait for one another for ever; so whoever
does not get all of its groups lets go of those it has, and tries again after a while.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from munro.machine.climb.needs import shortage
from munro.machine.config import RunConfig
from munro.machine.loading import BadConfig

TRY_S = 20.0
"""How long a climb sits on some of its groups while others are not to be had."""
A_LITTLE = 0.001
"""Of a CPU: what keeps ranks together without setting anything aside."""

Bundle = Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One group.

    Example:
        Wanted(bundles=[{"GPU": 1}] * 8, strategy="STRICT_PACK")
    """

    bundles: Sequence[Bundle]
    strategy: str
    name: str = ""
    """Under which it outlives this process, and is found again; empty where it does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where Ray is to start a climb's processes; None, or none of them, is anywhere."""

    ranks: tuple[Any, ...] = ()
    """Of each rank of the learner."""
    servers: tuple[Any, ...] = ()
    """Of each server."""
    workers: Any = None


@contextmanager
def reserved(config: RunConfig, *, learner: bool, lasting: str = "") -> Iterator[Places]:
    """Placement groups for the processes that the config asks to reserve for; freed at the end.

    Args:
        config: resolved.
        learner: whether learner ranks are started too.
        lasting: prefix of the names of what outlives this process; empty for nothing.

    Raises:
        BadConfig: the cluster has not got that much, or not within `deadlines.start_s`.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if lacking := shortage(config, nodes, learner=learner):
        raise BadConfig(lacking)
    gpu = 1 if ray.cluster_resources().get("GPU") else 0
    with ExitStack() as stack:
        if config.ray.colocate and learner:
            # for two, which share a GPU
            both: list[list[Bundle]] = [[{"CPU": 1, "GPU": gpu}], *_workers(config)]
            groups = stack.enter_context(
                together([Wanted(bundles=each, strategy="PACK") for each in both], config)
            )
            shared = PlacementGroupSchedulingStrategy(groups[0], 0)
            yield Places(ranks=(shared,), servers=(shared,), workers=_anywhere_in(groups[1:]))
            return
        ranks = config.learner.ranks if learner else 0
        wanted = list(_servers(config, gpu, lasting)) if config.ray.reserve else []
        wanted += [
            Wanted(bundles=each, strategy="SPREAD", name=lasting and f"{lasting}/workers")
            for each in _workers(config)
        ]
        num_servers = config.rollout.servers if config.ray.reserve else 0
        if ranks and (config.ray.reserve or (ranks > 1 and config.ray.address)):
            each = {"CPU": 1.0 if config.ray.reserve else A_LITTLE, "GPU": gpu}
            wanted.append(Wanted(bundles=[each] * ranks, strategy=_packing([each] * ranks, nodes)))
        groups = stack.enter_context(together(wanted, config))
        servers, rest = groups[:num_servers], groups[num_servers:]
        workers, rest = (rest[:1], rest[1:]) if config.ray.reserve else ([], rest)
        yield Places(
            servers=tuple(PlacementGroupSchedulingStrategy(group, 0) for group in servers),
            workers=_anywhere_in(workers),
            ranks=tuple(
                PlacementGroupSchedulingStrategy(group, rank)
                for group in rest
                for rank in range(ranks)
            ),
        )


def _servers(config: RunConfig, gpu: int, lasting: str) -> Iterator[Wanted]:
    bundle = {"CPU": 1, "GPU": gpu * config.rollout.tensor_parallel}
    for place in range(config.rollout.servers):
        name = lasting and f"{lasting}/server-{place}"
        yield Wanted(bundles=[bundle], strategy="PACK", name=name)


def _workers(config: RunConfig) -> list[list[Bundle]]:
    return [[{"CPU": 1}] * config.rollout.workers] if config.ray.reserve else []


def _anywhere_in(groups: Sequence[PlacementGroup]) -> Any:
    return PlacementGroupSchedulingStrategy(groups[0]) if groups else None


def _packing(bundles: Sequence[Bundle], nodes: Sequence[Mapping[str, float]]) -> str:
    """On one node where one has room for all of them, else on as few as will do."""
    in_all = {kind: sum(bundle[kind] for bundle in bundles) for kind in bundles[0]}
    fits = any(all(node.get(k, 0) >= most for k, most in in_all.items()) for node in nodes)
    return "STRICT_PACK" if fits else "PACK"


@contextmanager
def together(wanted: Sequence[Wanted], config: RunConfig) -> Iterator[list[PlacementGroup]]:
    """All of the groups; freed at the end.

    Raises:
        BadConfig: they were not to be had at one time within `deadlines.start_s`.
    """
    end = time.monotonic() + config.deadlines.start_s
    found = {one.name: there for one in wanted if one.name and (there := _there(one.name))}
    while True:
        groups = [found.get(one.name) or _new(one) for one in wanted]
        until = min(time.monotonic() + TRY_S, end)
        if all(group.wait(max(until - time.monotonic(), 0.01)) for group in groups):
            break
        for group in groups:
            if group not in found.values():  # what others run in stays, whoever has to wait
                remove_placement_group(group)
        if time.monotonic() >= end:
            raise BadConfig(_not_to_be_had(wanted, config.deadlines.start_s))
        time.sleep(random.uniform(0, min(TRY_S, max(end - time.monotonic(), 0))))
    try:
        yield groups
    finally:
        for group in groups:
            remove_placement_group(group)


def _there(name: str) -> PlacementGroup | None:
    """What a process of the same climb left set aside."""
    try:
        return ray.util.get_placement_group(name)
    except ValueError:
        return None


def _new(wanted: Wanted) -> PlacementGroup:
    bundles = [{kind: n for kind, n in bundle.items() if n} for bundle in wanted.bundles]
    stays = {"name": wanted.name, "lifetime": "detached"} if wanted.name else {}
    return placement_group(bundles, strategy=wanted.strategy, **stays)


def _not_to_be_had(wanted: Sequence[Wanted], within_s: float) -> str:
    bundles = [bundle for one in wanted for bundle in one.bundles]
    asked = {kind: sum(bundle.get(kind, 0) for bundle in bundles) for kind in ("CPU", "GPU")}
    has = {kind: int(ray.cluster_resources().get(kind, 0)) for kind in asked}
    return (
        f"the cluster could not set aside {asked['CPU']:g} CPUs and {asked['GPU']:g} GPUs within "
        f"{within_s:g} s (it has {has['CPU']} and {has['GPU']} in all, others may hold them): "
        "raise deadlines.start_s, ask for fewer servers, workers or ranks, or set ray.reserve = "
        "false."
    )
