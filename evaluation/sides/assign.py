"""Who sees which pair, on which side, in which order: a pure function of the design and its seed.

Every pair goes to the same number of raters, every rater sees a pair once, and loads differ by one
at most. Sides are balanced exactly: of a pair's looks, and of a rater's, A is on the left in half
of them, or in one more or less where the number is odd. That is always possible: pairs and raters
are the two sides of a bipartite graph whose edges are looks, and walking round its closed trails
leaves every place as often as it comes there; "from a pair to a rater" means that A is left.

Chance comes from a hash of the seed and of what is drawn, so no version of Python changes it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TypeVar

from munro.evaluation.sides.types import BadSides, Kind, Look

T = TypeVar("T")
APART = 10
"""Pairs at least between a look and the same pair again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """What decides an assignment.

    Example:
        Design(pairs=1276, raters=9, per_pair=3, seed=0)
    """

    pairs: int
    raters: int
    per_pair: int = 3
    """Raters of each pair."""
    again: float = 0.05
    """Share of a rater's pairs that come a second time."""
    checks: float = 0.03
    """As many checks a rater, as a share of the pairs; one at least where it is above 0."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.pairs < 1 or self.raters < 1:
            raise BadSides(f"{self.pairs} pairs for {self.raters} raters: at least one of each.")
        if not 1 <= self.per_pair <= self.raters:
            raise BadSides(
                f"{self.per_pair} raters a pair of {self.raters} in all: give 1 to {self.raters}."
            )
        for name in ("again", "checks"):
            if not 0 <= getattr(self, name) <= 0.5:
                raise BadSides(f"{name} = {getattr(self, name)}: give a share from 0 to 0.5.")


def assign(design: Design, checks: Sequence[Sequence[int]] = ()) -> list[list[Look]]:
    """Every rater's looks, in the order of being seen.

    Args:
        design: how many of what.
        checks: of each rater, numbers of the checks that may be mixed in, in order of preference;
            none where left out.

    Example:
        assign(Design(pairs=3, raters=2, per_pair=1))
    """
    raters_P = _dealt(design)
    left = _balanced([(pair, rater) for pair, some in enumerate(raters_P) for rater in some])
    firsts: list[list[Look]] = [[] for _ in range(design.raters)]
    for (pair, rater), a_left in left.items():
        firsts[rater].append(Look(pair=pair, a_left=a_left))
    return [
        _ordered(design, rater, own, checks[rater] if checks else ())
        for rater, own in enumerate(firsts)
    ]


def shuffled(items: Iterable[T], seed: int, *what: object) -> list[T]:
    """In an order that follows from the seed, the purpose and the items alone."""
    return sorted(items, key=lambda item: drawn(seed, *what, item))


def drawn(seed: int, *what: object) -> int:
    """64 bits that follow from the seed and the purpose."""
    text = "\x1f".join(map(str, (seed, *what)))
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")


def _dealt(design: Design) -> list[list[int]]:
    """Raters of each pair: always those who have least so far, by lot among equals."""
    load = [0] * design.raters
    found: list[list[int]] = [[] for _ in range(design.pairs)]
    for pair in shuffled(range(design.pairs), design.seed, "deal"):
        order = sorted(range(design.raters), key=lambda r: (load[r], drawn(design.seed, pair, r)))
        found[pair] = order[: design.per_pair]
        for rater in found[pair]:
            load[rater] += 1
    return found


def _balanced(edges: Sequence[tuple[int, int]]) -> dict[tuple[int, int], bool]:
    """Whether A is on the left, of each (pair, rater); see the head of this file."""
    ends: list[tuple[tuple[str, int], tuple[str, int]]] = [
        (("pair", pair), ("rater", rater)) for pair, rater in edges
    ]
    degree: dict[tuple[str, int], int] = defaultdict(int)
    for edge in ends:
        for end in edge:
            degree[end] += 1
    # one place more on either side, to which all go that have an odd number of edges
    odd = [place for place, number in degree.items() if number % 2]
    ends += [(place, ("rater", -1)) for place in odd if place[0] == "pair"]
    ends += [(("pair", -1), place) for place in odd if place[0] == "rater"]
    if sum(place[0] == "pair" for place in odd) % 2:
        ends.append((("pair", -1), ("rater", -1)))
    at: dict[tuple[str, int], list[int]] = defaultdict(list)
    for number, edge in enumerate(ends):
        for end in edge:
            at[end].append(number)
    is_walked = [False] * len(ends)
    left: dict[tuple[int, int], bool] = {}
    for start in list(at):
        place = start
        while (edge_at := _next(at[place], is_walked)) is not None:
            is_walked[edge_at] = True
            pair, rater = ends[edge_at]
            if edge_at < len(edges):
                left[edges[edge_at]] = place == pair
            place = rater if place == pair else pair
    return left


def _next(numbers: list[int], is_walked: Sequence[bool]) -> int | None:
    while numbers:
        number = numbers.pop()
        if not is_walked[number]:
            return number
    return None


def _ordered(
    design: Design, rater: int, firsts: Sequence[Look], checks: Sequence[int]
) -> list[Look]:
    """One rater's looks: shuffled, some again later, checks in between."""
    seed, number = design.seed, len(firsts)
    places = {look.pair: look for look in firsts}
    order = [places[pair] for pair in shuffled(places, seed, "order", rater)]
    placed = [(float(place), look) for place, look in enumerate(order)]
    for place, look in _to_see_again(design, rater, order):
        room = number - place - APART
        later = place + APART + room * drawn(seed, "later", rater, look.pair) / 2**64
        again = Look(pair=look.pair, a_left=not look.a_left, kind=Kind.AGAIN)
        placed.append((later + 0.5, again))
    wanted = max(1, round(design.checks * number)) if design.checks and number else 0
    turn = drawn(seed, "good side", rater) % 2
    for at, pair in enumerate(checks[:wanted]):
        between = number * drawn(seed, "check", rater, pair) / 2**64
        look = Look(pair=pair, a_left=bool((at + turn) % 2), kind=Kind.CHECK)
        placed.append((between + 0.25, look))
    return [look for _, look in sorted(placed, key=lambda one: one[0])]


def _to_see_again(design: Design, rater: int, order: Sequence[Look]) -> list[tuple[int, Look]]:
    """(place, look) of those that come again: as many with A on the left as on the right."""
    wanted = round(design.again * len(order))
    early = list(enumerate(order[: max(len(order) - APART, 0)]))
    chosen = shuffled(early, design.seed, "again", rater)
    halves = [[one for one in chosen if one[1].a_left == a_left] for a_left in (True, False)]
    return [one for both in zip(*halves, strict=False) for one in both][:wanted]
