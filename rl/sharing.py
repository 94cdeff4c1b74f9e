"""Who trains on what: a step's sequences shared out among the learner's ranks by their lengths.

No token is looked at: `munro.rollout.types.Worth` says of a group what this needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from munro.rl.policy.sequences import cut
from munro.rollout.types import Outcome, Place, Worth


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Of the global batch, over all ranks: sums of what is told of its groups."""

    tokens: int
    """Sampled tokens to train on: what the loss is divided by."""
    groups: int
    """Those without signal included."""
    silent_groups: int
    """Whose rewards all agree: nothing to learn from, not trained on."""
    sequences: int
    """To train on."""

    @classmethod
    def of(cls, worths: Sequence[Worth]) -> Counts:
        """Of groups with these worths."""
        return cls(
            tokens=sum(worth.num_sampled for worth in worths),
            groups=len(worths),
            silent_groups=sum(not any(worth.advantages) for worth in worths),
            sequences=sum(len(worth.attempts) for worth in worths),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Attempts of one group that go to one rank, by where they lie."""

    place: Place | None
    task_id: str
    num_shared: int
    attempts: tuple[int, ...]
    """Places in the group."""
    advantages: tuple[float, ...]
    """Of these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One rank's share of a step, before its tokens are there."""

    parts: tuple[Part, ...]
    counts: Counts


def shares(outcomes: Sequence[Outcome], num_ranks: int) -> list[Share]:
    """Share a step out among ranks by what is told of its groups.

    Args:
        outcomes: groups, told with their worth.
        num_ranks: as many shares, balanced by tokens; some may be empty.
    """
    worths = [outcome.worth for outcome in outcomes if outcome.worth is not None]
    tasks = [outcome.task_id for outcome in outcomes]
    return shares_of(worths, tasks, [outcome.place for outcome in outcomes], num_ranks)


def shares_of(
    worths: Sequence[Worth], tasks: Sequence[str], places: Sequence[Place | None], num_ranks: int
) -> list[Share]:
    """As `shares`, for groups of which these three are known."""
    told = list(zip(worths, tasks, places, strict=True))
    taught = [one for one in told if one[0].attempts]
    sizes = [(worth.num_shared, worth.num_inputs) for worth, _, _ in taught]
    counts = Counts.of(worths)

    def part(number: int, chosen: Iterable[int]) -> Part:
        worth, task_id, place = taught[number]
        attempts = tuple(worth.attempts[one] for one in chosen)
        return Part(
            place=place,
            task_id=task_id,
            num_shared=worth.num_shared,
            attempts=attempts,
            advantages=tuple(worth.advantages[one] for one in attempts),
        )

    return [
        Share(parts=tuple(part(*one) for one in of_rank), counts=counts)
        for of_rank in shared_out(sizes, num_ranks)
    ]


def shared_out(
    bundles: Sequence[tuple[int, Sequence[int]]], num_ranks: int
) -> list[list[tuple[int, list[int]]]]:
    """Bundles of so many tokens shared out among ranks.

    Those larger than an even share are cut (each part reads the common prefix again), then the
    largest goes to the least loaded rank.

    Args:
        bundles: (num_shared, num_inputs of each sequence).
        num_ranks: some may get nothing.

    Returns:
        For each rank (number of the bundle, places of its sequences).
    """
    whole = [(number, list(range(len(inputs)))) for number, (_, inputs) in enumerate(bundles)]
    if num_ranks == 1:
        return [whole]

    def size(number: int, places: Sequence[int]) -> int:
        num_shared, inputs = bundles[number]
        return num_shared + sum(inputs[place] - num_shared for place in places)

    most = max(1, sum(size(*one) for one in whole) // num_ranks)
    parts = [(number, places) for number, _ in whole for places in cut(*bundles[number], most=most)]
    found: list[list[tuple[int, list[int]]]] = [[] for _ in range(num_ranks)]
    load = [0] * num_ranks
    for part in sorted(parts, key=lambda part: -size(*part)):
        rank = load.index(min(load))
        found[rank].append(part)
        load[rank] += size(*part)
    return found
