"""Verdicts on disk: what a judge was asked before need not be paid for again.

    key    SHA-256 of who was asked, what, how sampled, and which of several samples it is
    value  the verdict's JSON

SQLite in write-ahead mode: several processes may share a folder.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from pathlib import Path

from munro.rewards.errors import GraderError

FILE = "verdicts.sqlite"
BUSY_S = 30.0


class VerdictCache:
    """A table of texts by key. Safe to use from many threads."""

    def __init__(self, folder: Path) -> None:
        """Open the cache in `folder`, made if need be.

        Raises:
            ValueError: the folder cannot be used, or what lies there is no cache.
        """
        self._file = folder / FILE
        self._lock = threading.Lock()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._table = sqlite3.connect(self._file, timeout=BUSY_S, check_same_thread=False)
            self._table.execute("PRAGMA journal_mode = WAL")
            self._table.execute("PRAGMA synchronous = NORMAL")
            self._table.execute(
                "CREATE TABLE IF NOT EXISTS verdicts (key TEXT PRIMARY KEY, verdict TEXT NOT NULL, "
                "asked REAL NOT NULL) WITHOUT ROWID"
            )
            self._table.commit()
        except (OSError, sqlite3.Error) as failure:
            raise ValueError(
                f"judge.cache = {str(folder)!r} cannot be used ({failure}). Name another folder, "
                'or set cache = "" to do without.'
            ) from failure

    def get(self, key: str) -> str | None:
        """The verdict of that key, if it is known.

        Raises:
            GraderError: the file cannot be read.
        """
        try:
            with self._lock:
                found = self._table.execute("SELECT verdict FROM verdicts WHERE key = ?", (key,))
                row = found.fetchone()
        except sqlite3.Error as failure:
            raise self._broken(failure) from failure
        return None if row is None else str(row[0])

    def put(self, key: str, verdict: str) -> None:
        """Remember a verdict.

        Raises:
            GraderError: the file cannot be written.
        """
        try:
            with self._lock, self._table:
                self._table.execute(
                    "INSERT OR REPLACE INTO verdicts VALUES (?, ?, ?)", (key, verdict, time.time())
                )
        except sqlite3.Error as failure:
            raise self._broken(failure) from failure

    def close(self) -> None:
        """Let go of the file. Safe to call twice."""
        with self._lock:
            self._table.close()

    def _broken(self, failure: sqlite3.Error) -> GraderError:
        return GraderError(f"the judge's cache {self._file} failed: {failure}")
