"""Rows, tiers and a judge that tests of scoring share."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from munro.questions.answers.config import ScoreConfig
from munro.questions.answers.score import Scored, score
from tests.rewards.judges import Body, Reply, ScriptedJudge, config_for, last_user, says

WRONG, HARD = {3, 7}, {5}
"""Rows whose stored answer is wrong; rows whose right answer nobody finds."""


def rows() -> list[dict[str, Any]]:
    return [
        {"id": n, "question": f"What is {n} + {n}?", "answer": str(2 * n + (n in WRONG))}
        for n in range(1, 11)
    ]


def number(body: Body) -> int:
    found = re.search(r"What is (\d+)", last_user(body))
    assert found is not None
    return int(found[1])


def strong(body: Body) -> Reply:
    """Right in one notation or another; on hard ones all agree on something else."""
    n = number(body)
    value = 2 * n + 9 if n in HARD else 2 * n
    return Reply(f"<answer>{value}{'.0' if body['seed'] % 2 else ''}</answer>")


def weak(body: Body) -> Reply:
    """Right every other time, and never on even ones."""
    n = number(body)
    return Reply(f"<answer>{2 * n if n % 2 and body['seed'] % 2 else 42}</answer>")


def judge(body: Body) -> Reply:
    """Can add."""
    parts = dict(re.findall(r"\[BEGIN ([\w ]+?) \w+\]\n(.*?)\n\[END", last_user(body), re.S))
    right = float(2 * number(body))
    same = [label for label in ("A", "B") if float(parts[f"ANSWER {label}"]) == right]
    return says(right=same[0] if same else "neither")


class Scoring:
    """Scores rows of a folder with scripted tiers and judge; the same servers at every call."""

    def __init__(self, folder: Path, servers: ExitStack) -> None:
        self.file, self.out = folder / "rows.jsonl", folder / "out"
        self._servers = servers
        self._urls: dict[Callable[[Body], Reply], str] = {}
        self.write(rows())

    def write(self, some: list[dict[str, Any]]) -> None:
        """Other rows."""
        self.file.write_text("".join(json.dumps(row) + "\n" for row in some))

    def url(self, answer: Callable[[Body], Reply]) -> str:
        """Where a script answers."""
        if answer not in self._urls:
            self._urls[answer] = self._servers.enter_context(ScriptedJudge(answer)).url
        return self._urls[answer]

    def tier(self, number: int, answer: Callable[[Body], Reply]) -> dict[str, Any]:
        """A tier's config: hurried, and it tries once."""
        return {
            "name": f"t{number}",
            "model": f"m{number}",
            "base_url": self.url(answer),
            "retries": 0,
            "backoff_s": 0,
        }

    def config(
        self,
        *tiers: Callable[[Body], Reply],
        by: Callable[[Body], Reply] | None = judge,
        **more: Any,
    ) -> ScoreConfig:
        """Scripted tiers, a scripted judge or none, four attempts."""
        config: dict[str, Any] = {"cache": "", "scoring": {"attempts": 4}}
        config["tiers"] = [self.tier(at, tier) for at, tier in enumerate(tiers)]
        if by is not None:
            config["judge"] = config_for(self.url(by)).model_dump()
        return ScoreConfig.model_validate(config | more)

    def __call__(self, *tiers: Callable[[Body], Reply], **how: Any) -> tuple[Scored, Path]:
        return score(self.file, str(self.out), self.config(*tiers, **how)), self.out


def lines(file: Path) -> dict[int, dict[str, Any]]:
    found = [json.loads(line) for line in file.read_text().split("\n")[:-1]]
    return {(row.get("row") or row)["id"]: row for row in found}
