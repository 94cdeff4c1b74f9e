"""Scoring killed by signal 9 in each of its stages, and begun again; see `test_kills`.

What may be cut short is counted: files that come into their place, replies and verdicts that are
remembered. An undisturbed run says which of them belong to which stage.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import openai  # noqa: F401 - which every run would import anew
import pyarrow.parquet  # noqa: F401

from munro.questions import tables
from munro.questions.answers import score as scoring
from munro.questions.answers.config import ScoreConfig
from munro.rewards.judge.cache import VerdictCache
from tests.questions.answers.scoring import judge, rows, strong, weak
from tests.rewards.judges import ScriptedJudge, config_for

STAGES = ("attempts", "votes", "blind", "end")
FORK = multiprocessing.get_context("fork")


class Watched:
    """Counts what a run leaves behind it, and ends it at one of these."""

    def __init__(self, die_in: str, die_at: int) -> None:
        self.stage, self.seen = "attempts", list[str]()
        self._die_in, self._die_at = die_in, die_at

    def say(self, line: str) -> None:
        """A stage is over when it says how much it kept."""
        name, _, rest = line.partition(": ")
        if "kept" in rest:
            self.stage = STAGES[STAGES.index(name) + 1]

    def counted(self, work: Callable[..., Any]) -> Callable[..., Any]:
        """Die before it or after it, every other time."""

        def done(*args: Any) -> Any:
            self.seen.append(self.stage)
            is_ours = self.stage == self._die_in
            is_last = is_ours and self.seen.count(self.stage) == self._die_at
            if is_last and self._die_at % 2:
                os.kill(os.getpid(), signal.SIGKILL)
            result = work(*args)
            if is_last:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return done


def run(folder: Path, config: dict[str, Any], die_in: str, die_at: int) -> None:
    """Score to the end, or until a stage left so much; leave the list of what was left."""
    watched = Watched(die_in, die_at)
    scoring.AT_ONCE = 4
    replace = watched.counted(os.replace)
    tables.os.replace = scoring.os.replace = replace  # type: ignore[attr-defined]
    VerdictCache.put = watched.counted(VerdictCache.put)  # type: ignore[method-assign]
    told = config | {"cache": str(folder / "cache")}
    told["judge"] = config["judge"] | {"cache": str(folder / "cache")}
    whole = ScoreConfig.model_validate(told)
    file = folder.parent / "rows.jsonl"
    scoring.score(file, str(folder / "out"), whole, on_progress=watched.say)
    (folder / "seen.json").write_text(json.dumps(watched.seen))


def begun(folder: Path, config: dict[str, Any], die_in: str = "", die_at: int = 0) -> bool:
    """Whether a run in a process of its own came to its end; otherwise it was killed."""
    folder.mkdir(exist_ok=True)
    child = FORK.Process(target=run, args=(folder, config, die_in, die_at))
    child.start()
    child.join()
    assert child.exitcode in (0, -signal.SIGKILL), child.exitcode
    return child.exitcode == 0


def served(pipe: Connection) -> None:
    """Two tiers and a judge, until the other end of the pipe is closed."""
    with ScriptedJudge(weak) as one, ScriptedJudge(strong) as two, ScriptedJudge(judge) as by:
        pipe.send([one.url, two.url, by.url])
        with suppress(EOFError):
            pipe.recv()


def config_of(weak_url: str, strong_url: str, judge_url: str) -> dict[str, Any]:
    """Of a scoring of the rows."""
    tiers = [
        {"name": name, "model": name, "base_url": url}
        for name, url in (("weak", weak_url), ("strong", strong_url))
    ]
    by = config_for(judge_url).model_dump()
    return {"tiers": tiers, "judge": by, "scoring": {"attempts": 4}}


def chosen(total: int, times: int) -> list[int]:
    """So many of what a stage leaves, counted from 1: one alone from its middle, else from its
    first to its last, again and again where there are fewer."""
    if times == 1:
        return [(total + 1) // 2]
    return [1 + n * (total - 1) // (times - 1) for n in range(times)]


def bytes_of(out: Path) -> dict[str, bytes]:
    """Every file that a scoring leaves."""
    files = [path for path in sorted(out.rglob("*")) if path.is_file()]
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}


def main() -> None:
    """Kill as often as told in each stage; one folder for each death, or one for all."""
    folder, times, each = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "each"
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows()))
    ours, theirs = FORK.Pipe()
    server = FORK.Process(target=served, args=(theirs,))
    server.start()
    try:
        config = config_of(*ours.recv())
        assert begun(folder / "whole", config)
        whole = bytes_of(folder / "whole" / "out")
        seen = json.loads((folder / "whole" / "seen.json").read_text())
        deaths = dict.fromkeys(STAGES, 0)
        for stage in STAGES:
            for time, at in enumerate(chosen(seen.count(stage), times)):
                killed = folder / (f"{stage}-{time}" if each else "killed")
                deaths[stage] += not begun(killed, config, stage, at)
                if each:
                    assert begun(killed, config)
                    assert bytes_of(killed / "out") == whole, (stage, at)
        if not each:
            assert begun(folder / "killed", config)
            assert bytes_of(folder / "killed" / "out") == whole
        found = {"deaths": deaths, "files": sorted(whole)}
        (folder / "found.json").write_text(json.dumps(found))
    finally:
        ours.send(None)
        server.join()


if __name__ == "__main__":
    main()
