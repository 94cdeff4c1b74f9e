"""What tests of `munro.envs.swe` share: a small repository, and a box with pytest in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from munro.envs.swe.folder import TaskFolder
from munro.envs.swe.run import pytest_layer
from munro.rewards import sandbox
from munro.rewards.sandbox import Image, Limits, Sandbox, Session, layer_of

ROOMY = Limits(disk_mb=64, wall_s=60, cpu_s=60)


class Bench:
    """A sandbox with a store, and the layer of pytest in it."""

    def __init__(self, box: Sandbox, store: Path) -> None:
        self.box, self.store = box, store
        self.pytest = pytest_layer(store)
        self.made: dict[str, TaskFolder] = {}

    def image(self, files: Mapping[str, bytes | str]) -> Image:
        return Image(layers=(layer_of(files, self.store),), packages=(self.pytest,))

    @contextmanager
    def session(self, files: Mapping[str, bytes | str]) -> Iterator[Session]:
        with self.box.session(image=self.image(files)) as session:
            yield session


@contextmanager
def bench(store: Path) -> Iterator[Bench]:
    with sandbox.open("namespaces", ROOMY, store=store) as box:
        yield Bench(box, store)
