"""The packages of a box as they are installed here, with what they stand on: no index is asked."""

from __future__ import annotations

import importlib.metadata
import shutil
import tempfile
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from munro.envs.swe_build.errors import Dropped
from munro.envs.swe_build.packages.prepare import tidy
from munro.envs.swe_build.packages.requirements import Needs
from munro.rewards.sandbox import Layer, layer_of

NOT_HERE = "a package that it needs is not installed here"


@dataclass(slots=True)
class Installed:
    """Layers of the packages of this interpreter's environment. Safe for threads."""

    store: Path
    _known: dict[tuple[str, ...], Layer] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def layer(self, needs: Needs, seconds: int) -> tuple[Layer, str]:  # noqa: ARG002
        """The layer for those needs; their bounds and the base's date are not asked for.

        Raises:
            Dropped: one of them is not installed.
        """
        key = (needs.distribution, *needs.requirements)
        with self._lock:
            if key not in self._known:
                self._known[key] = self._made(needs)
            return self._known[key], ""

    def _made(self, needs: Needs) -> Layer:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "packages"
            folder.mkdir()
            for one in distributions(needs.requirements):
                _copy(one, folder)
            tidy(folder, needs.distribution)
            return layer_of(folder, self.store)


def distributions(requirements: Iterable[str]) -> list[importlib.metadata.Distribution]:
    """Those that are named, and all that they need here in turn.

    Raises:
        Dropped: one that is named is not installed; of what those need, some may be missing.
    """
    found: dict[str, importlib.metadata.Distribution] = {}
    named = [Requirement(line) for line in requirements]
    rest = list(named)
    while rest:
        wanted = rest.pop()
        name = canonicalize_name(wanted.name)
        try:
            one = importlib.metadata.distribution(wanted.name)
        except importlib.metadata.PackageNotFoundError:
            if wanted in named:
                raise Dropped("suite runs", NOT_HERE, wanted.name) from None
            continue
        found[name] = one
        for part in filter(None, map(_parsed, one.requires or ())):
            extras = ["", *wanted.extras]
            marker = part.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras):
                rest += [part] if canonicalize_name(part.name) not in found else []
    return [found[name] for name in sorted(found)]


def _parsed(line: str) -> Requirement | None:
    try:
        return Requirement(line)
    except InvalidRequirement:
        return None


def _copy(one: importlib.metadata.Distribution, folder: Path) -> None:
    """Its files, without scripts and byte code."""
    for file in one.files or ():
        place = Path(str(one.locate_file(file)))
        if ".." in file.parts or file.suffix == ".pyc" or not place.is_file():
            continue
        there = folder / str(file)
        there.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(place, there)
