"""Several folders of results of one model as one: its own tasks here, a harness's there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from munro.evaluation.results import Results
from munro.evaluation.types import AttemptRow, BadResults


class Joined(Results):
    """Reads as `Results`; every entry is in the folder that has it."""

    def __init__(self, parts: Sequence[Results]) -> None:
        """
        Args:
            parts: at least one, of one model.

        Raises:
            BadResults: two of them have an entry of one name, or they are of different models.
        """
        super().__init__(parts[0].folder)
        self._parts = parts
        self._owner: dict[str, Results] = {}
        for part in parts:
            for entry in part.entries():
                if (other := self._owner.setdefault(entry, part)) is not part:
                    raise BadResults(
                        f"{other.folder} and {part.folder} both have the entry {entry}: give one "
                        "of the two."
                    )
        first, *others = parts
        for other in others:
            if _weights(first) != _weights(other):
                raise BadResults(
                    f"{first.folder} and {other.folder} are of different models "
                    f"({_name(first)}, {_name(other)}): a gate is about one."
                )

    def rows(self, entry: str = "") -> list[AttemptRow]:
        """As `Results.rows`."""
        parts = self._parts if not entry else [self._owner[entry]] if entry in self._owner else []
        return [row for part in parts for row in part.rows(entry)]

    def entries(self) -> list[str]:
        """As `Results.entries`."""
        return list(self._owner)

    def asked(self, entry: str) -> dict[str, Any]:
        """As `Results.asked`."""
        return self._owner[entry].asked(entry) if entry in self._owner else {}

    def require_whole(self) -> None:
        """As `Results.require_whole`, of each."""
        for part in self._parts:
            part.require_whole()


def joined(folders: Sequence[Path | str]) -> Results:
    """The results of these folders, of which there is at least one."""
    parts = [Results(folder) for folder in folders]
    return parts[0] if len(parts) == 1 else Joined(parts)


def _weights(of: Results) -> object:
    model = of.model()
    return model.get("weights", model.get("name"))


def _name(of: Results) -> object:
    return of.model().get("name", "unnamed")
