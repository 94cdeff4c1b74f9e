"""The UK AISI's inspect: tasks are Python files, `FILE.py` or `FILE.py@TASK`.

Its own `epochs` would do, but they share one seed: run r is a whole run of inspect with its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from munro.envs.types import Ending
from munro.evaluation.job import BadHarness, Harness, Job, NoSamples, require_whole, score_of
from munro.evaluation.types import AttemptRow

NAME = "inspect"
SERVICE = "munro"
LETTERS = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0}
"""Correct, partly, incorrect, no answer."""


class Inspect(Harness):
    """See the module."""

    module = "inspect_ai"
    distribution = "inspect-ai"
    key_variable = f"{SERVICE.upper()}_API_KEY"

    def refusal(self, tasks: Sequence[str]) -> str:
        """See `Harness.refusal`."""
        files = [task.partition("@")[0] for task in tasks]
        missing = [file for file in files if file.endswith(".py") and not Path(file).is_file()]
        return f"there is no file {missing[0]} for inspect." if missing else ""

    def variables(self, job: Job) -> Mapping[str, str]:
        """See `Harness.variables`."""
        return {f"{SERVICE.upper()}_BASE_URL": job.base_url}

    def command(self, job: Job) -> list[str]:
        """See `Harness.command`."""
        files = [_absolute(task) for task in job.tasks]
        words = ["eval", *files, "--model", f"openai-api/{SERVICE}/{job.model}"]
        words += ["--seed", str(job.seed), "--temperature", str(job.temperature)]
        words += ["--top-p", str(job.top_p), "--max-tokens", str(job.max_tokens)]
        words += ["--epochs", "1", "--max-connections", str(job.concurrent), "--max-retries", "3"]
        words += ["--log-dir", str(job.folder), "--log-format", "json", "--display", "plain"]
        words += ["--limit", str(job.limit)] if job.limit else []
        return [*words, *job.options]

    def rows(self, job: Job) -> list[AttemptRow]:
        """See `Harness.rows`."""
        logs = [_read(file) for file in sorted(job.folder.glob("*.json"))]
        logs = [log for log in logs if "eval" in log]
        if not logs:
            raise NoSamples(f"{NAME} wrote no samples into {job.folder}.")
        rows: list[AttemptRow] = []
        for log in logs:
            rows += _of_task(log, job)
        if not rows:
            raise NoSamples(f"{NAME} wrote no samples into {job.folder}.")
        return rows


def _of_task(log: dict[str, Any], job: Job) -> list[AttemptRow]:
    told = log["eval"]
    task = str(told["task"]).rpartition("/")[2]
    if log.get("status") == "error":
        said = " ".join(str((log.get("error") or {}).get("message", "")).split())
        raise BadHarness(f"inspect could not finish task {task!r} in run {job.run}: {said}")
    samples = log.get("samples") or []
    expected = int((log.get("results") or {}).get("total_samples") or _size(told))
    require_whole(NAME, task, [str(of["id"]) for of in samples], expected, job.run)
    return [_row(sample, task, job) for sample in samples]


def _row(sample: dict[str, Any], task: str, job: Job) -> AttemptRow:
    name, output = str(sample["id"]), sample.get("output") or {}
    where = f"of sample {name} of task {task!r} in run {job.run}"
    error = " ".join(str((sample.get("error") or {}).get("message", "")).split())
    parts: dict[str, float] = {}
    for scorer, score in (sample.get("scores") or {}).items():
        value = score.get("value")
        values = value if isinstance(value, dict) else {"": value}
        for key, one in values.items():
            number = LETTERS.get(one, one) if isinstance(one, str) else one
            parts[f"{scorer}/{key or 'score'}"] = score_of(number, f"{scorer} {where}")
    if not parts and not error:
        raise BadHarness(f"inspect gave no score {where}.")
    reward = next(iter(parts.values()), 0.0)
    choice = (output.get("choices") or [{}])[0]
    is_cut = choice.get("stop_reason") == "max_tokens"
    return AttemptRow(
        entry=task,
        task=name,
        run=job.run,
        seed=job.seed,
        passed=reward >= 1 and not error,
        reward=reward,
        parts=parts,
        labels={key: str(value) for key, value in (sample.get("metadata") or {}).items()},
        num_tokens=int((output.get("usage") or {}).get("output_tokens") or 0),
        ending=Ending.TRUNCATED_TOKENS if is_cut else Ending.ANSWERED,
        prompt=_text(sample.get("input")),
        reply=_text((choice.get("message") or {}).get("content")),
        failed=error,
    )


def _size(told: dict[str, Any]) -> int:
    size = int((told.get("dataset") or {}).get("samples") or 0)
    limit = (told.get("config") or {}).get("limit")
    return min(size, limit) if isinstance(limit, int) else size


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    pieces = value if isinstance(value, list) else []
    return "\n".join(
        of["text"] if isinstance(of.get("text"), str) else _text(of.get("content"))
        for of in pieces
        if isinstance(of, dict)
    )


def _absolute(task: str) -> str:
    file, at, name = task.partition("@")
    return f"{Path(file).absolute()}{at}{name}" if file.endswith(".py") else task


def _read(file: Path) -> dict[str, Any]:
    try:
        log = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadHarness(f"{file} cannot be read, it may be cut short: {error}") from error
    return log if isinstance(log, dict) else {}
