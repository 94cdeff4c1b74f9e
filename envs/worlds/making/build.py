"""Many tasks of many worlds, none of them nearly another one: what `munro world build` does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from munro.envs.worlds.compose import World
from munro.envs.worlds.errors import BadWorld
from munro.envs.worlds.making.audit import audit
from munro.envs.worlds.making.draw import Menu, draw, is_held_out
from munro.envs.worlds.making.folder import opened, write_tasks, write_world
from munro.envs.worlds.making.prove import refuted
from munro.envs.worlds.rows import draw as draw_rows
from munro.envs.worlds.state import State
from munro.envs.worlds.task import WorldTask

TASKS_PER_WORLD = 25
AUDITED = 12
"""Worlds in which tools and rules are tried."""
SHINGLE = 3
"""Words of a request that are compared at once."""
ALIKE = 0.7
"""Share of them that two requests of nearly the same task have in common."""
COMMON = 60
"""Requests that begin or end alike say nothing: what so many have is not compared."""


@dataclass(slots=True)
class Seen:
    """Requests so far, by their words."""

    _by_shingle: dict[tuple[str, ...], list[int]] = field(default_factory=dict)
    _sizes: list[int] = field(default_factory=list)

    def is_new(self, ask: str) -> bool:
        """Whether no earlier request is nearly this one."""
        shingles = _shingles(ask)
        shared: Counter[int] = Counter()
        for shingle in shingles:
            found = self._by_shingle.get(shingle, [])
            if len(found) < COMMON:
                shared.update(found)
        return all(
            number / (len(shingles) + self._sizes[place] - number) < ALIKE
            for place, number in shared.items()
        )

    def add(self, ask: str) -> None:
        """Remember a request."""
        shingles = _shingles(ask)
        for shingle in shingles:
            self._by_shingle.setdefault(shingle, []).append(len(self._sizes))
        self._sizes.append(len(shingles))


def build(
    world: World,
    menu: Menu,
    folder: Path,
    *,
    num_tasks: int,
    size: float = 1.0,
    seed: int = 0,
    on_task: Callable[[int], None] = lambda _: None,
) -> Counter[str]:
    """Write a folder of proven tasks; the same arguments write the same bytes.

    Args:
        world: that they are about.
        menu: kinds and tools.
        folder: to write, new or empty.
        num_tasks: tasks of both splits together; one request in ten is held out.
        size: times the rows that each table names.
        seed: of every draw.
        on_task: told how many there are.

    Returns:
        How many there are of each kind.

    Raises:
        BadWorld: the world contradicts itself, or no more tasks can be drawn of it; or the folder
            holds tasks already.
    """
    if folder.exists() and any(folder.iterdir()):
        raise BadWorld(f"{folder} is not empty: name another --out, or remove it.")
    seen, tasks, kinds = Seen(), list[tuple[str, str, str, WorldTask]](), Counter[str]()
    made = {
        f"world-{place:04d}": draw_rows(world, seed=f"{seed}/{place}", size=size)
        for place in range(max(-(-num_tasks // TASKS_PER_WORLD), AUDITED))
    }
    bases = [State.of(world, rows) for rows in made.values()]
    audit(world, bases[:AUDITED])
    for number in range(num_tasks):
        place = number // TASKS_PER_WORLD
        rows, base = f"world-{place:04d}", bases[place]
        task = draw(
            world, base, menu, seed=f"{seed}/{number}", wanted=lambda one: seen.is_new(one.ask)
        )
        seen.add(task.ask)
        kinds[task.kind] += 1
        split = "test" if is_held_out(task.ask) else "train"
        tasks.append((f"{task.kind}-{number:05d}", split, rows, task))
        on_task(number + 1)
    for rows in dict.fromkeys(rows for _, _, rows, _ in tasks):
        write_world(folder, rows, world, made[rows])
    write_tasks(folder, tasks)
    return kinds


def check(folder: Path) -> list[tuple[str, str]]:
    """Prove every task of a folder again.

    Returns:
        Names and reasons of those that are none.

    Raises:
        BadWorld: there is no such folder.
    """
    built = opened(folder)
    wrong = []
    for split in ("train", "test"):
        for name, rows, task in built.split(split):
            if why := refuted(built.world(rows), built.rows(rows), task):
                wrong.append((name, why))
    return wrong


def _shingles(ask: str) -> set[tuple[str, ...]]:
    words: Sequence[str] = ask.casefold().split()
    last = max(len(words) - SHINGLE, 0)
    return {tuple(words[place : place + SHINGLE]) for place in range(last + 1)}
