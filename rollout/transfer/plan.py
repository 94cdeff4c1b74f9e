"""Who sends what to whom: compiled from what the learner holds and what a server wants.

    held (all ranks of the learner) ──┐
                                      ├──► pieces: one box from one rank to one rank
    wanted (all ranks of a server) ───┘    targets: the wanted boxes that pieces make up

Pure geometry, the same on every machine: each process compiles the plan by itself, and digests are
compared before anything is sent. A wanted box that several of a server's ranks want is sent to one
of them, its lead, which hands it on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from munro.rollout.transfer.types import Box, Layout, Move, digest

Ints = NDArray[np.int64]

WIDTHS = {"float64": 8, "int64": 8, "float32": 4, "int32": 4, "bfloat16": 2, "float16": 2}
WIDTHS |= {"int16": 2, "int8": 1, "uint8": 1, "bool": 1, "float8_e4m3fn": 1, "float8_e5m2": 1}
PAIRS_AT_ONCE = 1 << 19
"""Pairs of a held and a wanted box that are looked at together: bounds the memory."""


class PlanError(Exception):
    """What is wanted cannot be made of what is held; names the tensor."""

    is_sentence = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """Wanted boxes, each once, in the order in which they go. T boxes."""

    name: Ints
    """(T,) index into `Plan.names`"""
    start: Ints
    """(T, D)"""
    stop: Ints
    """(T, D)"""
    lead: Ints
    """(T,) rank of the server that is sent it"""
    bucket: Ints
    """(T,) those of a bucket go together"""
    first: Ints
    """(T + 1,) where each one's takers begin in `takers`"""
    takers: Ints
    """Ranks of the server that want it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pieces:
    """What goes over the wire, in the order of the targets. M pieces."""

    target: Ints
    """(M,) index into `Targets`"""
    source: Ints
    """(M,) rank of the learner"""
    start: Ints
    """(M, D)"""
    stop: Ints
    """(M, D)"""
    bytes: Ints
    """(M,)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What one rank of the learner sends one of a server in one bucket."""

    source: int
    lead: int
    shared: bool
    """Other ranks of the server want all of it too: the lead hands it on as it came."""
    moves: tuple[Move, ...]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One learner to one server. See `compile`."""

    names: tuple[str, ...]
    dtypes: tuple[str, ...]
    """Of what is sent, by name: the narrower of both sides'."""
    dims: Ints
    targets: Targets
    pieces: Pieces
    unwanted: tuple[str, ...] = ()
    """Held, and wanted by no rank of the server."""
    _messages: dict[tuple[int, int | None], list[list[Message]]] = field(
        default_factory=dict, compare=False, repr=False
    )

    @property
    def num_bytes(self) -> int:
        """On the wire from the learner."""
        return int(self.pieces.bytes.sum())

    @property
    def num_buckets(self) -> int:
        """They go one after another."""
        return int(self.targets.bucket[-1]) + 1 if len(self.targets.bucket) else 0

    @cached_property
    def sources(self) -> tuple[int, ...]:
        """Ranks of the learner that send something."""
        return tuple(map(int, np.unique(self.pieces.source)))

    @cached_property
    def digest(self) -> str:
        """Equal on two sides if and only if they mean the same plan."""
        columns = [self.dims]
        for part in (self.targets, self.pieces):
            columns += [getattr(part, column) for column in part.__slots__]
        return digest(["\n".join(self.names), "\n".join(self.dtypes)], columns)

    def bytes_by_source(self) -> dict[int, int]:
        """What each rank of the learner sends."""
        sent = np.bincount(self.pieces.source, weights=self.pieces.bytes)
        return {rank: int(sent[rank]) for rank in self.sources}

    def messages(self, lead: int, source: int | None = None) -> list[list[Message]]:
        """What a rank of the server is sent, by bucket; with `source`, by that rank alone."""
        if (lead, source) not in self._messages:
            t, p = self.targets, self.pieces
            mine = t.lead[p.target] == lead
            if source is not None:
                mine &= p.source == source
            by_key: dict[tuple[int, int, bool], list[Move]] = {}
            for row in np.nonzero(mine)[0].tolist():
                target = int(p.target[row])
                shared = bool(t.first[target + 1] - t.first[target] > 1)
                key = (int(t.bucket[target]), int(p.source[row]), shared)
                by_key.setdefault(key, []).append(self._move(row))
            buckets: list[list[Message]] = [[] for _ in range(self.num_buckets)]
            for bucket, sender, shared in sorted(by_key):
                moves = tuple(by_key[bucket, sender, shared])
                message = Message(source=sender, lead=lead, shared=shared, moves=moves)
                buckets[bucket].append(message)
            self._messages[lead, source] = buckets
        return self._messages[lead, source]

    def feeds(self, lead: int) -> tuple[int, ...]:
        """Ranks of the learner that send something to that rank of the server."""
        t, p = self.targets, self.pieces
        return tuple(map(int, np.unique(p.source[t.lead[p.target] == lead])))

    def takers(self, move: Move) -> list[int]:
        """Ranks of the server that want the box of which that is a part."""
        low, high = self.targets.first[move.part : move.part + 2]
        return [int(rank) for rank in self.targets.takers[low:high]]

    def _move(self, row: int) -> Move:
        p = self.pieces
        target = int(p.target[row])
        name = int(self.targets.name[target])
        return Move(
            name=self.names[name],
            source=int(p.source[row]),
            target=int(self.targets.lead[target]),
            box=_box(p.start[row], p.stop[row], int(self.dims[name])),
            dtype=self.dtypes[name],
            bytes=int(p.bytes[row]),
            part=target,
        )


def compile(
    held: Layout,
    wanted: Layout,
    *,
    bucket_bytes: int = 256 << 20,
    given: Mapping[int, int] | None = None,
) -> Plan:
    """The plan by which a server with that layout gets its weights from that learner.

    Args:
        held: parts of every rank of the learner.
        wanted: parts of every rank of the server, under the same names.
        bucket_bytes: that a rank of the server is sent at once; a larger box goes alone.
        given: bytes that ranks of the learner send to others, so that this plan takes the rest.

    Raises:
        PlanError: a wanted element is held by nobody, or in two parts that are not the same box.
    """
    held, wanted = held.deep(wanted), wanted.deep(held)
    names, dtypes, dims = _common(held, wanted)
    own, units = _unique(held, names), _unique(wanted, names)
    _require_disjoint(names, own)
    size = np.array([WIDTHS[dtype] for dtype in dtypes], np.int64)
    volume = _volume(units.start, units.stop)
    pair_unit, pair_own, start, stop = _overlaps(own, units)
    covered = np.bincount(pair_unit, weights=_volume(start, stop), minlength=len(volume))
    if len(short := np.nonzero(covered != volume)[0]):
        at = int(units.name[short[0]])
        box = _box(units.start[short[0]], units.stop[short[0]], dims[at])
        raise PlanError(
            f"{names[at]}: the server wants {box.start} to {box.stop}, {box.size} elements, of "
            f"which the learner holds {int(covered[short[0]])}: they are not of one model"
        )
    unit_bytes = volume * size[units.name]
    lead = _leads(units, unit_bytes)
    bytes_ = _volume(start, stop) * size[units.name[pair_unit]]
    return Plan(
        names=tuple(names),
        dtypes=tuple(dtypes),
        dims=np.array(dims, np.int64),
        targets=Targets(
            name=units.name,
            start=units.start,
            stop=units.stop,
            lead=lead,
            bucket=_buckets(lead, unit_bytes, bucket_bytes),
            first=units.first,
            takers=units.ranks,
        ),
        pieces=Pieces(
            target=pair_unit,
            source=_sources(own, pair_own, bytes_, given or {}),
            start=start,
            stop=stop,
            bytes=bytes_,
        ),
        unwanted=tuple(sorted(set(held.names) - set(names))),
    )


@dataclass(frozen=True, slots=True)
class _Unique:
    """Boxes that are not empty, each once, in the order of names, with all ranks that have it."""

    name: Ints
    start: Ints
    stop: Ints
    first: Ints
    ranks: Ints


def _unique(layout: Layout, names: Sequence[str]) -> _Unique:
    place = {name: i for i, name in enumerate(names)}
    order = np.array([place.get(name, -1) for name in layout.names], np.int64)
    name = order[layout.name]
    full = (name >= 0) & (layout.stop > layout.start).all(axis=1)
    rows = np.column_stack([name, layout.start, layout.stop, layout.rank])[full]
    rows = rows[np.lexsort(rows.T[::-1])]
    box = rows[:, :-1]
    new = np.ones(len(rows), bool)
    new[1:] = (box[1:] != box[:-1]).any(axis=1)
    # a rank that says one box twice has it once
    twice = np.zeros(len(rows), bool)
    twice[1:] = ~new[1:] & (rows[1:, -1] == rows[:-1, -1])
    rows, new, box = rows[~twice], new[~twice], box[~twice]
    dims = layout.start.shape[1]
    kept = box[new]
    return _Unique(
        name=kept[:, 0].copy(),
        start=kept[:, 1 : 1 + dims].copy(),
        stop=kept[:, 1 + dims :].copy(),
        first=np.append(np.nonzero(new)[0], len(rows)),
        ranks=rows[:, -1].copy(),
    )


def _require_disjoint(names: Sequence[str], own: _Unique) -> None:
    """No element is in two held boxes: counted on the grid that the boxes' edges make.

    Raises:
        PlanError: one is.
    """
    bounds = np.searchsorted(own.name, np.arange(len(names) + 1))
    proven: set[bytes] = set()  # layers are alike
    for i, (low, high) in enumerate(pairwise(bounds)):
        if high - low < 2:
            continue
        start, stop = own.start[low:high], own.stop[low:high]
        shape = start.tobytes() + stop.tobytes()
        if shape not in proven and _overlapping(start, stop):
            raise PlanError(
                f"{names[i]}: two ranks of the learner hold parts that overlap and are not the same"
            )
        proven.add(shape)


def _overlapping(start: Ints, stop: Ints) -> bool:
    edges = [np.unique(np.concatenate([start[:, d], stop[:, d]])) for d in range(start.shape[1])]
    count = np.zeros([len(edge) + 1 for edge in edges], np.int64)
    low = np.column_stack([np.searchsorted(e, start[:, d]) for d, e in enumerate(edges)])
    high = np.column_stack([np.searchsorted(e, stop[:, d]) for d, e in enumerate(edges)])
    for corner in np.ndindex(*(2,) * len(edges)):
        where = np.where(np.array(corner, bool), high, low)
        np.add.at(count, tuple(where.T), (-1) ** sum(corner))
    for dim in range(len(edges)):
        count = count.cumsum(axis=dim)
    return bool(count.max() > 1)


def _overlaps(own: _Unique, units: _Unique) -> tuple[Ints, Ints, Ints, Ints]:
    """Every pair of a wanted and a held box of one name that share something, and what."""
    low = np.searchsorted(own.name, units.name)
    count = np.searchsorted(own.name, units.name, side="right") - low
    ends = np.cumsum(count)
    found: list[tuple[Ints, ...]] = []
    done = 0
    while done < len(count):
        base = int(ends[done - 1]) if done else 0
        upto = max(int(np.searchsorted(ends, base + PAIRS_AT_ONCE, side="right")), done + 1)
        counts = count[done:upto]
        unit = np.repeat(np.arange(done, upto), counts)
        within = np.arange(len(unit)) - np.repeat(ends[done:upto] - counts - base, counts)
        held = low[unit] + within
        start = np.maximum(own.start[held], units.start[unit])
        stop = np.minimum(own.stop[held], units.stop[unit])
        some = (stop > start).all(axis=1)
        found.append((unit[some], held[some], start[some], stop[some]))
        done = upto
    if not found:
        none = np.zeros(0, np.int64)
        return none, none, units.start, units.stop
    unit, held, start, stop = (np.concatenate(column) for column in zip(*found, strict=True))
    return unit, held, start, stop


def _sources(own: _Unique, pair_own: Ints, bytes_: Ints, given: Mapping[int, int]) -> Ints:
    """Who of those that hold a box sends it: who sends the least so far, else the first."""
    most = max([*own.ranks.tolist(), *given, 0]) + 1
    sent = np.zeros(most, np.int64)
    for rank, already in given.items():
        sent[rank] = already
    low, high = own.first[pair_own], own.first[pair_own + 1]
    source = own.ranks[low] if len(low) else low
    alone = high - low == 1
    np.add.at(sent, source[alone], bytes_[alone])
    for row in np.nonzero(~alone)[0]:
        ranks = own.ranks[low[row] : high[row]]
        chosen = ranks[np.argmin(sent[ranks])]
        source[row] = chosen
        sent[chosen] += bytes_[row]
    return source


def _leads(units: _Unique, unit_bytes: Ints) -> Ints:
    """Which rank of the server is sent a box: of those that want it, who is sent the least."""
    return _sources(units, np.arange(len(units.name)), unit_bytes, {})


def _buckets(lead: Ints, unit_bytes: Ints, most: int) -> Ints:
    bucket = np.zeros(len(lead), np.int64)
    filled: dict[int, int] = {}
    now = 0
    for i, (rank, size) in enumerate(zip(lead.tolist(), unit_bytes.tolist(), strict=True)):
        if filled and filled.get(rank, 0) + size > most:
            filled, now = {}, now + 1
        filled[rank] = filled.get(rank, 0) + size
        bucket[i] = now
    return bucket


def _common(held: Layout, wanted: Layout) -> tuple[list[str], list[str], list[int]]:
    """What is wanted, in the order in which it goes; what it is sent as; its dimensions.

    Raises:
        PlanError: the learner has no such tensor.
    """
    ours = {
        name: (place, held.dtypes[place], int(held.dims[place]))
        for place, name in enumerate(held.names)
    }
    for name, dims in zip(wanted.names, wanted.dims.tolist(), strict=True):
        if name not in ours:
            raise PlanError(f"{name}: the server wants it, and the learner has none of that name")
        if ours[name][2] != dims:
            raise PlanError(
                f"{name}: the learner's has {ours[name][2]} dimensions, the server's {dims}"
            )
    theirs = dict(zip(wanted.names, wanted.dtypes, strict=True))
    names = sorted(theirs, key=lambda name: (_layer(name), ours[name][0]))
    dtypes = [_narrower(ours[name][1], theirs[name]) for name in names]
    return names, dtypes, [ours[name][2] for name in names]


def _narrower(ours: str, theirs: str) -> str:
    return theirs if WIDTHS[theirs] < WIDTHS[ours] else ours


def _volume(start: Ints, stop: Ints) -> Ints:
    volume: Ints = np.prod(stop - start, axis=1)
    return volume


def _box(start: Ints, stop: Ints, dims: int) -> Box:
    return Box(tuple(map(int, start[:dims])), tuple(map(int, stop[:dims])))


def _layer(name: str) -> int:
    """Number of the layer that a weight is of; -1 of what is in none."""
    found = re.search(r"\.(\d+)\.", name)
    return int(found.group(1)) if found else -1
