"""A phase's process: started, listened to, stopped; it ends when this process does."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

import click

from munro.machine.run.console import printable

LOG = "output.log"
END_S = 30.0
"""For a process that was asked to end."""


class PhaseProcess:
    """One phase under way. What it writes goes to `output.log` and, with its name, to our output.

    Example:
        process = PhaseProcess("stem", Path("machines/m/stem"), {"CUDA_VISIBLE_DEVICES": "0"})
    """

    def __init__(self, name: str, folder: Path, environment: Mapping[str, str]) -> None:
        self.name = name
        self.last_word = "it said nothing"
        """The last line that it wrote."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "munro.machine.pipeline.phase", str(folder.resolve())],
            # a pipe that nobody writes to: at its end the process knows that we are gone
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
            # Ctrl-C reaches us alone; we pass it on
            start_new_session=True,
        )
        self._listener = threading.Thread(
            target=self._listen, args=(self._process.stdout, folder / LOG), daemon=True
        )
        self._listener.start()

    def poll(self) -> int | None:
        """Its exit status once it has ended and all was heard, else None."""
        status = self._process.poll()
        if status is not None:
            self._listener.join(timeout=5)
        return status

    def signal(self, number: int) -> None:
        """Pass a signal on."""
        with suppress(ProcessLookupError):
            self._process.send_signal(number)

    def end(self) -> None:
        """Wait a while for its end, then insist."""
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _listen(self, output: IO[str], log: Path) -> None:
        with log.open("a", encoding="utf-8") as file:
            for line in output:
                file.write(line)
                file.flush()
                if text := printable(line.rstrip("\n")):
                    self.last_word = text.removeprefix("munro: ")
                    click.echo(f"{self.name} | {text}")
