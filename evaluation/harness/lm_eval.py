"""EleutherAI's lm-eval: generated answers, by its chat completions.

Its own `repeats` send one seed for all and score the first: never used. Run r is a whole run of
lm-eval with a seed of its own in `model_args`, from which every request takes it.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from munro.evaluation.job import BadHarness, Harness, Job, NoSamples, require_whole, score_of
from munro.evaluation.types import AttemptRow

NAME = "lm-eval"


class LmEval(Harness):
    """See the module."""

    module = "lm_eval"
    distribution = "lm-eval"
    key_variable = "OPENAI_API_KEY"

    def command(self, job: Job) -> list[str]:
        """See `Harness.command`."""
        told = {
            "model": job.model,
            "base_url": f"{job.base_url}/chat/completions",
            "num_concurrent": job.concurrent,
            "max_retries": 3,
            "tokenized_requests": False,
            "seed": job.seed,
        }
        # lm-eval reads off a task's own do_sample = false that it is greedy
        sampling = {
            "do_sample": job.temperature > 0,
            "temperature": job.temperature,
            "top_p": job.top_p,
            "max_gen_toks": job.max_tokens,
        }
        words = ["run", "--model", "local-chat-completions", "--apply_chat_template"]
        words += ["--model_args", _pairs(told), "--gen_kwargs", _pairs(sampling)]
        words += ["--tasks", ",".join(job.tasks), "--seed", str(job.seed)]
        words += ["--log_samples", "--output_path", str(job.folder)]
        words += ["--limit", str(job.limit)] if job.limit else []
        words += ["--include_path", str(Path(job.include).absolute())] if job.include else []
        return [*words, *job.options]

    def rows(self, job: Job) -> list[AttemptRow]:
        """See `Harness.rows`."""
        results = sorted(job.folder.rglob("results_*.json"))
        files = sorted(job.folder.rglob("samples_*.jsonl"))
        if not results or not files:
            raise NoSamples(f"{NAME} wrote no samples into {job.folder}.")
        counts = _read(results[-1]).get("n-samples", {})
        rows: list[AttemptRow] = []
        for task, expected in counts.items():
            name = re.compile(rf"samples_{re.escape(task)}_\d{{4}}-\d\d-\d\dT.*")
            mine = [file for file in files if name.fullmatch(file.name)]
            samples = [sample for file in mine[-1:] for sample in _lines(file)]
            rows += _of_task(task, samples, int(expected["effective"]), job)
        if not rows:
            raise NoSamples(f"{NAME} wrote no samples into {job.folder}.")
        return rows


def _of_task(task: str, samples: list[dict[str, Any]], expected: int, job: Job) -> list[AttemptRow]:
    by_filter: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    names: dict[str, list[str]] = defaultdict(list)
    for sample in samples:
        name, kind = str(sample["doc_id"]), str(sample.get("filter", "none"))
        names[kind].append(name)
        by_filter[kind][name] = sample
    first = next(iter(by_filter), "none")
    require_whole(NAME, task, names[first], expected, job.run)
    rows = []
    for name, sample in by_filter[first].items():
        parts = {
            f"{kind}/{metric}": score_of(
                of[name].get(metric), f"{metric} of sample {name} of task {task!r} in run {job.run}"
            )
            for kind, of in by_filter.items()
            if name in of
            for metric in of[name].get("metrics", ())
        }
        if not parts:
            raise BadHarness(f"{NAME} gave no score of sample {name} of task {task!r}.")
        reward = next(iter(parts.values()))
        reply = _first_text(sample.get("resps"))
        rows.append(
            AttemptRow(
                entry=task,
                task=name,
                run=job.run,
                seed=job.seed,
                passed=reward >= 1,
                reward=reward,
                parts=parts,
                prompt=_prompt(sample.get("arguments")),
                reply=reply,
            )
        )
    return rows


def _pairs(told: Mapping[str, Any]) -> str:
    return ",".join(f"{name}={value}" for name, value in told.items())


def _first_text(value: Any) -> str:
    while isinstance(value, list):
        value = value[0] if value else ""
    return str(value)


def _prompt(arguments: Any) -> str:
    if isinstance(arguments, dict) and arguments:
        first = next(iter(arguments.values()))
        return _first_text(first.get("arg_0", "") if isinstance(first, dict) else first)
    return _first_text(arguments)


def _read(file: Path) -> dict[str, Any]:
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadHarness(f"{file} cannot be read: {error}") from error
    return told if isinstance(told, dict) else {}


def _lines(file: Path) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line]
    except (OSError, ValueError) as error:
        raise BadHarness(f"{file} cannot be read, it may be cut short: {error}") from error
