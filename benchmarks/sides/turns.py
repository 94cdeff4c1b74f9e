"""A benchmark's worker processes, as their parent sees them: they take turns, a step each.

parent ── "step" ──► worker        one line asks for one step
parent ◄── JSON ──── worker        one line says how long it took and how much it was
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from statistics import median
from typing import Any, Self


class Side:
    """One worker process."""

    def __init__(self, name: str, command: list[str], variables: Mapping[str, str]) -> None:
        self.name = name
        self.steps: list[dict[str, Any]] = []
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **variables},
        )
        self.about = self._answer()
        print(f"{name:<6} up: {self.about}", flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)

    def step(self, num_tokens: int, *, counts: bool) -> None:
        """Let it take one step, which must be of so many tokens.

        Raises:
            SystemExit: it died, or did another amount of work.
        """
        assert self._process.stdin is not None
        self._process.stdin.write("step\n")
        self._process.stdin.flush()
        done = self._answer()
        if done["tokens"] != num_tokens:
            sys.exit(f"{self.name} did {done['tokens']} tokens, not {num_tokens}")
        figures = " ".join(f"{key}={value:.3g}" for key, value in done.items())
        print(f"{self.name:<6} {'' if counts else '(warm-up) '}{figures}", flush=True)
        if counts:
            self.steps.append(done)

    def seconds(self) -> float:
        """Median of the steps that count."""
        return median(float(step["seconds"]) for step in self.steps)

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"{self.name} ended with exit code {self._process.wait()}; see above")
        answer: dict[str, Any] = json.loads(line)
        return answer
