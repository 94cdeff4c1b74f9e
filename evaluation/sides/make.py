"""From two sides to a study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from munro.evaluation.sides.assign import Design, assign, drawn
from munro.evaluation.sides.study import write_study
from munro.evaluation.sides.tasks import (
    Paired,
    made_checks,
    paired,
    read_checks,
    read_side,
    some_of,
    told,
)
from munro.evaluation.sides.types import BadSides, Kind, Look, Pair

CRITERIA = ("follows the request", "is right", "is well said")
MOST_RATERS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a study is to be.

    Example:
        Wanted(tasks=1276, raters=("ann", "bo", "cy"))
    """

    tasks: int = 0
    """Drawn by the seed; 0 for all."""
    raters: tuple[str, ...] = ("r1", "r2", "r3")
    per_pair: int = 3
    again: float = 0.05
    checks: float = 0.03
    checks_file: str = ""
    """Of checks; made of the answers themselves unless given."""
    criteria: tuple[str, ...] = CRITERIA
    strip: tuple[str, ...] = ()
    """Further names to take out of answers."""
    entry: str = ""
    skip_differing: bool = False
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What came of it."""

    found: Paired
    lists: dict[str, list[Look]]
    num_checks: int


def make(a: Path | str, b: Path | str, folder: Path, wanted: Wanted) -> Made:
    """Write a study of A and B into `folder`.

    Raises:
        BadSides: a side cannot be used, they are not about the same prompts, or the folder is
            taken.
    """
    sides = read_side(a, wanted.entry), read_side(b, wanted.entry)
    found = paired(*sides, strip=wanted.strip)
    if found.differing and not wanted.skip_differing:
        raise BadSides(
            f"{len(found.differing)} tasks have another prompt in {b} than in {a} "
            f"({told(found.differing)}): give both models the same, or leave these out with "
            "--skip-differing."
        )
    if not found.pairs:
        raise BadSides(
            f"{a} and {b} have no pair to look at: {len(found.equal)} tasks have equal answers, "
            f"{len(found.missing)} one answer alone ({told(found.missing) or 'none'})."
        )
    found, rest = some_of(found, wanted.tasks, wanted.seed) if wanted.tasks else (found, ())
    if not found.pairs:
        raise BadSides("the answers to all tasks that were drawn are equal: nobody need look.")
    raters = _raters(wanted.raters)
    design = Design(
        pairs=len(found.pairs),
        raters=len(raters),
        per_pair=wanted.per_pair,
        again=wanted.again,
        checks=wanted.checks,
        seed=wanted.seed,
    )
    pairs, lists = _with_checks(design, found.pairs, rest, wanted)
    write_study(
        folder,
        design,
        pairs,
        dict(zip(raters, lists, strict=True)),
        _criteria(wanted.criteria),
        {
            "a": sides[0].name,
            "b": sides[1].name,
            "paths": {"a": sides[0].path, "b": sides[1].path},
            "equal": list(found.equal),
            "missing": list(found.missing),
            "differing": list(found.differing),
            "num_names": found.num_names,
        },
    )
    num_checks = sum(look.kind is Kind.CHECK for own in lists for look in own)
    return Made(found=found, lists=dict(zip(raters, lists, strict=True)), num_checks=num_checks)


def _with_checks(
    design: Design, pairs: Sequence[Pair], rest: Sequence[Pair], wanted: Wanted
) -> tuple[list[Pair], list[list[Look]]]:
    """Pairs and the checks that are used, and the lists of looks at them."""
    seen = [{look.pair for look in own} for own in assign(replace(design, again=0, checks=0))]
    if wanted.checks_file:
        made = list(read_checks(wanted.checks_file))
        offered = [list(range(len(made))) for _ in seen]
    elif wanted.checks:
        # of prompts that the rater does not see otherwise
        made = list(made_checks([*rest, *pairs], wanted.seed))
        place = {f"check {pair.task}": at for at, pair in enumerate(pairs)}
        offered = [
            [at for at, one in enumerate(made) if place.get(one.task, -1) not in own]
            for own in seen
        ]
    else:
        return list(pairs), assign(design)
    order = [
        sorted(own, key=lambda at: drawn(wanted.seed, "which checks", rater, at))
        for rater, own in enumerate(offered)
    ]
    first = len(pairs)
    lists = assign(design, [[first + at for at in own] for own in order])
    used = sorted({look.pair for own in lists for look in own if look.kind is Kind.CHECK})
    number = {pair: first + at for at, pair in enumerate(used)}
    lists = [
        [replace(look, pair=number.get(look.pair, look.pair)) for look in own] for own in lists
    ]
    return [*pairs, *(made[pair - first] for pair in used)], lists


def _raters(names: Sequence[str]) -> list[str]:
    for name in names:
        if not name.strip() or len(name) > 60 or not name.isprintable():
            raise BadSides(f"{name!r:.70} is no name of a rater: up to 60 characters on one line.")
    if len(set(names)) < len(names):
        raise BadSides("two raters have the same name.")
    if len(names) > MOST_RATERS:
        raise BadSides(f"{len(names)} raters: at most {MOST_RATERS}.")
    return list(names)


def _criteria(names: Sequence[str]) -> list[str]:
    if len(set(names)) < len(names):
        raise BadSides("a criterion is there twice.")
    for name in names:
        if not name.strip() or len(name) > 80 or "/" in name or not name.isprintable():
            raise BadSides(f"{name!r:.90} is no criterion: up to 80 characters, no slash.")
    return list(names)
