"""Tesseract, the program (Debian: tesseract-ocr): no model, no network, and no formulas.

It is native code that is given a stranger's picture: it runs in a process of its own with limits on
time and memory, may write no file, and is killed where it does not end.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import cached_property
from typing import Any

from munro.questions.errors import QuestionsError
from munro.questions.parse.scan import ScanReader, Unread

PROGRAM = "tesseract"
MEMORY = 2 << 30
"""Bytes of address space; a page of A4 at 300 dpi takes a tenth."""
LIMITED = """\
import os, resource, sys
memory, seconds = map(int, sys.argv[1:3])
resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
os.execv(sys.argv[3], sys.argv[3:])
"""
ASK_S = 30
"""Seconds for its version and its languages."""


class Tesseract(ScanReader):
    """Pages by `tesseract`, with the languages of `scans.language`."""

    @property
    def at_once(self) -> int:
        """One a core: each runs in one thread."""
        return os.cpu_count() or 1

    @property
    def name(self) -> str:
        """The program with its version."""
        return self._version

    @property
    def identity(self) -> Any:
        """Another version may read something else."""
        return [self._version, self.config.language, self.config.dpi]

    def lacking(self) -> str:
        """The program, or a language of it."""
        if shutil.which(PROGRAM) is None:
            return (
                'scans.reader = "tesseract" needs the program tesseract, which is not on the PATH: '
                "install it (Debian: apt-get install tesseract-ocr), or name another reader."
            )
        there = self._said("--list-langs").split()
        for one in self.config.language.split("+"):
            if one not in there:
                return (
                    f"scans.language names {one!r}, which tesseract has no data for: install them "
                    f"(Debian: apt-get install tesseract-ocr-{one}), or name another."
                )
        return ""

    def read(self, picture: bytes) -> str:
        """What tesseract makes of a page, in the order in which it takes its blocks."""
        command = [PROGRAM, "stdin", "stdout", "-l", self.config.language]
        try:
            done = self._run([*command, "--dpi", str(self.config.dpi)], picture)
        except subprocess.TimeoutExpired:
            raise Unread(
                f"tesseract takes longer than scans.page_s = {self.config.page_s:g}"
            ) from None
        except OSError as error:
            raise QuestionsError(
                f"tesseract cannot be run ({error.strerror}): mend that."
            ) from None
        if done.returncode:
            why = " ".join(done.stderr.decode("utf-8", "replace").split())[-160:]
            raise Unread(f"tesseract ends with {done.returncode}: {why or 'no word'}")
        return done.stdout.decode("utf-8", "replace").replace("\f", "\n")

    def _run(self, command: list[str], given: bytes) -> subprocess.CompletedProcess[bytes]:
        program = shutil.which(command[0]) or command[0]
        seconds = int(self.config.page_s) + 1
        return subprocess.run(
            [sys.executable, "-I", "-S", "-c", LIMITED, str(MEMORY), str(seconds), program,
             *command[1:]],
            input=given,
            capture_output=True,
            timeout=self.config.page_s,
            env=_environment(),
            start_new_session=True,
            check=False,
        )  # fmt: skip

    @cached_property
    def _version(self) -> str:
        return self._said("--version").partition("\n")[0].strip() or PROGRAM

    def _said(self, option: str) -> str:
        try:
            done = subprocess.run(
                [PROGRAM, option],
                capture_output=True,
                timeout=ASK_S,
                env=_environment(),
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise QuestionsError(
                f"tesseract cannot be asked for its {option[2:]}: {error}"
            ) from None
        return (done.stdout or done.stderr).decode("utf-8", "replace")


def _environment() -> dict[str, str]:
    """One thread, so that a page is read the same everywhere; nothing that is not its business."""
    kept = ("PATH", "TESSDATA_PREFIX", "LD_LIBRARY_PATH")
    ours = {"OMP_THREAD_LIMIT": "1", "LC_ALL": "C.UTF-8"}
    return ours | {name: os.environ[name] for name in kept if name in os.environ}
