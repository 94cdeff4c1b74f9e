"""Whom each server of a roster takes its weights from: the learner, or another server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from munro.rollout.engine import WeightSource

Relay = Literal["none", "chain", "tree"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """Where a server stands in an update."""

    server: str
    feeder: str
    """Another server; empty for the learner."""
    followers: tuple[str, ...]
    """Servers that it hands the weights on to."""
    slice: int


def expand(servers: Sequence[str], *, slices: int, relay: Relay) -> list[Edge]:
    """Cut the fleet in slices that are fed on their own, and have servers feed each other.

    Args:
        servers: names; those that others are to depend on first.
        slices: parts of the fleet; each has other ranks of the learner, where they hold the same.
        relay: within a slice, "chain" feeds the first from the learner and each other from the one
            before it, "tree" two from each, "none" all from the learner.
    """
    edges = []
    for number in range(slices):
        members = servers[number::slices]
        feeds = [_feeder(i, relay) for i in range(len(members))]
        for i, server in enumerate(members):
            feeder = members[feeds[i]] if feeds[i] >= 0 else ""
            followers = tuple(one for one, by in zip(members, feeds, strict=True) if by == i)
            edge = Edge(server=server, feeder=feeder, followers=followers, slice=number)
            edges.append(edge)
    return edges


def addressed(
    source: WeightSource, servers: Sequence[str], *, slices: int, relay: Relay
) -> dict[str, WeightSource]:
    """What each server of an update is told, where they ask for their weights; see `expand`."""
    told = {}
    for edge in expand(servers, slices=slices, relay=relay):
        own = {
            "server": edge.server,
            "slice": edge.slice,
            "feeder": edge.feeder,
            "followers": edge.followers,
        }
        told[edge.server] = replace(source, update={**source.update, **own})
    return told


def _feeder(place: int, relay: Relay) -> int:
    """Place of who feeds the one at that place; -1 for the learner."""
    if relay == "none":
        return -1
    return place - 1 if relay == "chain" else (place - 1) // 2 if place else -1
