"""What raters said, with what was whose put back: one record a look that was finished."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from munro.evaluation.sides.journal import Click, clicks_of
from munro.evaluation.sides.study import CLICKS, Asked, Key
from munro.evaluation.sides.types import SCALE, SIDES, BadSides, Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Rating:
    """One rater on one pair.

    Example:
        Rating(rater="ann", look=0, pair=17, kind=Kind.FIRST, score=0.5, b_left=False, seconds=31.0)
    """

    rater: str
    look: int
    pair: int
    kind: Kind
    score: float
    """How much better B is, in [-1.5, 1.5]; of a check, the bad one."""
    b_left: bool
    """Whether B was on the left."""
    grades_a: Mapping[str, int] = field(default_factory=dict)
    """By criterion, 0 to 2."""
    grades_b: Mapping[str, int] = field(default_factory=dict)
    seconds: float
    """From being shown to being finished."""

    @property
    def towards_left(self) -> float:
        """The score as the rater gave it: how much better the left one is."""
        return self.score if self.b_left else -self.score


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratings:
    """A study as far as it has been rated."""

    name: str
    asked: Asked
    key: Key
    ratings: tuple[Rating, ...]
    stale: Counter[str]
    """By rater, clicks for a pair that was finished in another window."""
    refused: Mapping[str, tuple[str, ...]]
    """By rater, what was sent that the page does not offer."""
    windows: Counter[str]
    """By rater, looks whose clicks came from more than one window."""

    def of(self, kind: Kind, *, without: frozenset[str] = frozenset()) -> list[Rating]:
        """Those of one kind, some raters left out."""
        return [one for one in self.ratings if one.kind is kind and one.rater not in without]

    def texts(self, pair: int) -> tuple[str, str]:
        """A's answer and B's; of a check the good one and the bad one."""
        first, second = self.asked.texts[pair]
        return (first, second) if self.key.a_first[pair] else (second, first)


def read_ratings(folder: Path) -> Ratings:
    """All that has been rated so far.

    Raises:
        BadSides: there is no study, its key is missing, or a file is damaged.
    """
    asked, key = Asked.read(folder), Key.read(folder)
    for rater, own in asked.lists.items():
        if len(key.kinds.get(rater, ())) != len(own):
            raise BadSides(f"{folder}: the key is another study's: {rater} has another list in it.")
    by_look: dict[tuple[str, int], list[Click]] = defaultdict(list)
    stale: Counter[str] = Counter()
    refused: dict[str, list[str]] = defaultdict(list)
    for click in clicks_of(folder / CLICKS):
        if click.rater not in asked.lists:
            continue
        if click.field == "stale":
            stale[click.rater] += 1
        elif click.field == "refused":
            refused[click.rater].append(str(click.value or "no click"))
        else:
            by_look[click.rater, click.look].append(click)
    windows = Counter(
        rater
        for (rater, _), clicks in by_look.items()
        if len({click.tab for click in clicks if click.tab}) > 1
    )
    found = (_rating(asked, key, *place, clicks) for place, clicks in sorted(by_look.items()))
    return Ratings(
        name=asked.name,
        asked=asked,
        key=key,
        ratings=tuple(one for one in found if one is not None),
        stale=stale,
        refused={rater: tuple(said) for rater, said in refused.items()},
        windows=windows,
    )


def _rating(asked: Asked, key: Key, rater: str, look: int, clicks: list[Click]) -> Rating | None:
    """What these clicks come to; None where the look was not finished."""
    last = {click.field: click for click in clicks}
    if "done" not in last or "preference" not in last or look >= len(asked.lists[rater]):
        return None
    pair, is_turned = asked.lists[rater][look]
    # the first text is on the left unless turned; b is on the left where that one is not a's
    b_left = key.a_first[pair] is is_turned
    to_right = SCALE[int(last["preference"].value) - 1]
    grades = {
        side: {
            name: int(last[f"{side}/{name}"].value)
            for name in asked.criteria
            if f"{side}/{name}" in last
        }
        for side in SIDES
    }
    a_side, b_side = ("right", "left") if b_left else ("left", "right")
    return Rating(
        rater=rater,
        look=look,
        pair=pair,
        kind=key.kinds[rater][look],
        score=-to_right if b_left else to_right,
        b_left=b_left,
        grades_a=grades[a_side],
        grades_b=grades[b_side],
        seconds=max(last["done"].at - clicks[0].at, 0.0),
    )
