"""What the host works out once for a micro-batch, so that no device has to be asked for anything.

    candidates     position 0: 17 4 9 | position 1: 4 | position 2: 4 30
    by position    [17 4 9] [4] [4 30]         sums over a position: softmax, hidden's gradient
    by id          [4 4 4] [9] [17] [30]       sums over an id: the gradient of its row

Sums go over parts of at most `PART` candidates, one program each, and a long sum over its parts in
their order: an id that is in most nuclei keeps no single program busy, and every run adds up in the
same order.

Shape suffixes: T = positions, M = candidates of all positions together, U = distinct ids, P =
parts, S = sums of more than one part, V = vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

PART = 64
"""Candidates that one program adds up."""

Array = Any
"""An int32 array of NumPy on the host, a tensor of the same numbers on a device."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """How a list is added up, section by section: a part a program, then long ones of parts.

    Example:
        Sums(starts=[0, 3, 4], into=[0, 1], split_starts=[0], split_into=[], num_partials=0)
    """

    starts: Array
    """(P + 1,) where in the list each part begins, and the end."""
    into: Array
    """(P,) the row of the result that a part is all of; -1 - k where it is the k-th partial sum."""
    split_starts: Array
    """(S + 1,) where the partial sums of each long one begin, and the end."""
    split_into: Array
    """(S,) the row of the result that they add up to."""
    num_partials: int
    """Of all long ones together."""

    @property
    def num_parts(self) -> int:
        """P"""
        return len(self.into)

    @property
    def num_splits(self) -> int:
        """S"""
        return len(self.split_into)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The candidates of a micro-batch's positions, in both orders. Every position has one.

    Example:
        plan(tokens, kept_ids, kept_starts, num_rows=49_152).to(torch.device("cuda"))
    """

    ids: Array
    """(M,) the candidates, position after position."""
    owner: Array
    """(M,) whose each is."""
    starts: Array
    """(T + 1,) where each position's begin, and the end."""
    by_position: Sums
    """Over candidates in the order of `ids`; a result for each position."""
    order: Array
    """(M,) candidates sorted by id; those of one id as they stand in `ids`."""
    by_id: Sums
    """Over candidates in the order of `order`; a result for each row of the output matrix."""
    distinct: Array
    """(U,) ids, ascending."""
    rank: Array
    """(M,) which of `distinct` each candidate is."""

    def to(self, device: torch.device, *, non_blocking: bool = False) -> Self:
        """With tensors on a device in place of arrays."""
        moved: Self = _moved(self, device, non_blocking=non_blocking)
        return moved


def plan(
    token_T: NDArray[np.integer],
    kept_ids_M: NDArray[np.integer],
    kept_starts: NDArray[np.integer],
    num_rows: int,
    *,
    part: int = PART,
) -> Plan:
    """Lay out a micro-batch's candidates.

    Args:
        token_T: [T] the tokens that were sampled.
        kept_ids_M: [M] the nuclei end to end; each holds its token once.
        kept_starts: [T + 1] offsets into `kept_ids_M`; no slice is empty.
        num_rows: V.
        part: most candidates that one program adds up.

    Raises:
        ValueError: a nucleus is empty or lacks its token, or an id is no row of the matrix.
    """
    counts = np.diff(kept_starts)
    num, size = len(token_T), len(kept_ids_M)
    if len(counts) != num or kept_starts[0] != 0 or kept_starts[-1] != size:
        raise ValueError(f"{len(counts)} nuclei that end at {kept_starts[-1]} of {size} candidates")
    if num and counts.min() < 1:
        raise ValueError(f"position {int(counts.argmin())} has no nucleus")
    if size and not 0 <= kept_ids_M.min() <= kept_ids_M.max() < num_rows:
        raise ValueError(f"a nucleus holds an id that is not below {num_rows}")
    owner = np.repeat(np.arange(num, dtype=np.int32), counts)
    found = np.bincount(owner[kept_ids_M == np.asarray(token_T)[owner]], minlength=num)
    if (found != 1).any():
        at = int((found != 1).argmax())
        raise ValueError(
            f"the nucleus of position {at} holds its token {int(token_T[at])} {found[at]} times"
        )
    ids = kept_ids_M.astype(np.int32)
    order = np.argsort(ids, kind="stable").astype(np.int32)
    ascending = ids[order]
    is_first = np.diff(ascending, prepend=-1) > 0
    distinct, rank = ascending[is_first], np.empty_like(ids)
    rank[order] = is_first.cumsum() - 1
    return Plan(
        ids=ids,
        owner=owner,
        starts=np.asarray(kept_starts).astype(np.int32),
        by_position=sums(np.asarray(kept_starts), np.arange(num), part),
        order=order,
        by_id=sums(np.append(np.flatnonzero(is_first), size), distinct, part),
        distinct=distinct,
        rank=rank,
    )


def sums(starts: NDArray[np.integer], into: NDArray[np.integer], part: int) -> Sums:
    """Cut sections of a list into parts.

    Args:
        starts: where each section begins, and the end.
        into: the row of the result that each section adds up to.
        part: longest part.
    """
    parts = -(-np.diff(starts) // part)
    section = np.repeat(np.arange(len(parts)), parts)
    within = np.arange(len(section)) - np.repeat(parts.cumsum() - parts, parts)
    is_split = parts > 1
    # partial sums are numbered through, those of one section together
    split = is_split[section]
    slot = split.cumsum() - 1
    return Sums(
        starts=np.append(starts[section] + within * part, starts[-1]).astype(np.int32),
        into=np.where(split, -1 - slot, into[section]).astype(np.int32),
        split_starts=np.concatenate([[0], parts[is_split].cumsum()]).astype(np.int32),
        split_into=into[is_split].astype(np.int32),
        num_partials=int(split.sum()),
    )


def _moved(record: Any, device: torch.device, *, non_blocking: bool) -> Any:
    changed: dict[str, Any] = {}
    for field in fields(record):
        value = getattr(record, field.name)
        if isinstance(value, Sums):
            changed[field.name] = _moved(value, device, non_blocking=non_blocking)
        elif isinstance(value, np.ndarray):
            changed[field.name] = torch.from_numpy(value).to(device, non_blocking=non_blocking)
    return replace(record, **changed)
