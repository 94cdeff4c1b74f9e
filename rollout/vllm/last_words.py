"""What an engine process said before it died: vLLM itself only says that it did.

engine process: vLLM logs the exception ──► a line in a file, named by an environment variable
our process:    the engine is dead      ──► the first line of the last outburst
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
import time
from pathlib import Path

VARIABLE = "MUNRO_LAST_WORDS"
OUTBURST_S = 10.0
"""What one failure makes several processes log comes within this time; its cause comes first."""


class LastWords:
    """The file of one engine, as its owner sees it."""

    def __init__(self) -> None:
        handle, name = tempfile.mkstemp(prefix="munro-engine-", suffix=".jsonl")
        os.close(handle)
        self.path = Path(name)

    def read(self) -> str:
        """The cause of the last failure, in one line; empty where nothing was said."""
        try:
            said = [json.loads(line) for line in self.path.read_text().splitlines()]
        except (OSError, ValueError):
            return ""
        last = [one["what"] for one in said if one["at"] > said[-1]["at"] - OUTBURST_S]
        return str(last[0]) if last else ""

    def after(self, sentence: str) -> str:
        """The sentence with the cause behind it, where there is one."""
        why = self.read()
        return f"{sentence}: {why}" if why else sentence

    def forget(self) -> None:
        """Remove the file."""
        self.path.unlink(missing_ok=True)


class _Listener(logging.Handler):
    """Writes down every exception that is logged."""

    def __init__(self, path: str) -> None:
        super().__init__(logging.ERROR)
        self._path = path

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if error is None:
            return
        first = next(iter(str(error).strip().splitlines()), "")
        what = f"{type(error).__name__}: {first}" if first else type(error).__name__
        try:
            with open(self._path, "a") as file:
                file.write(json.dumps({"at": time.time(), "what": what}) + "\n")
        except OSError:
            self.handleError(record)


def listen() -> None:
    """In an engine process: write down what it logs as failed. Safe to call twice."""
    path = os.environ.get(VARIABLE)
    logger = logging.getLogger("vllm")
    if path and not any(isinstance(handler, _Listener) for handler in logger.handlers):
        logger.addHandler(_Listener(path))
