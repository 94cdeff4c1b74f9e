"""Fixes that are a little wrong: do the hidden tests notice?

A task whose tests accept them is weak: a policy learns there that any answer will do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from munro.envs.swe_build.mutate import mutations
from munro.envs.swe_build.patch import added_lines, grouped, without_hunk
from munro.envs.swe_build.proposal import Contents


@dataclass(frozen=True, slots=True)
class Mutant:
    """A fix that is not quite the gold one."""

    what: str
    gold: Contents


def mutants_of(gold: Contents, before: Mapping[str, bytes], most: int) -> list[Mutant]:
    """Mutations of the lines that a fix adds, spread over kinds and places, always the same ones.

    Args:
        gold: code files after the fix.
        before: files that the box begins with.
        most: at most so many.
    """
    found = []
    for path, new in sorted(gold.items()):
        if not path.endswith(".py") or new is None:
            continue
        lines = added_lines(before.get(path, b""), new)
        for one in mutations(new, lines):
            key = hashlib.sha256(f"{path} {one.kind} {one.line}".encode() + one.source).hexdigest()
            what = f"{one.kind} at {path}:{one.line}"
            found.append((one.kind, key, Mutant(what, {**gold, path: one.source})))
    return _spread(found, most)


def _spread(found: list[tuple[str, str, Mutant]], most: int) -> list[Mutant]:
    """One of each kind in turn, in an order that only their contents decide."""
    by_kind: dict[str, list[Mutant]] = {}
    for kind, _, mutant in sorted(found, key=lambda one: one[:2]):
        by_kind.setdefault(kind, []).append(mutant)
    chosen: list[Mutant] = []
    while len(chosen) < most and any(by_kind.values()):
        for mutants in by_kind.values():
            if mutants and len(chosen) < most:
                chosen.append(mutants.pop(0))
    return chosen


def partial_fixes(gold: Contents, before: Mapping[str, bytes], most: int) -> list[Mutant]:
    """The fix without each of its hunks, where it has several."""
    found = []
    for path, new in sorted(gold.items()):
        old = before.get(path)
        if new is None or old is None:
            found.append(Mutant(f"without {path}", {**gold, path: old}))
            continue
        for index in range(len(list(grouped(old, new)))):
            kept = without_hunk(old, new, index)
            found.append(Mutant(f"without hunk {index + 1} of {path}", {**gold, path: kept}))
    return found[:most] if len(found) > 1 else []
