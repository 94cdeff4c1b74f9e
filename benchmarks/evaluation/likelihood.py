"""Likelihoods beside lm-eval's, and the same bytes under two tokenizers.

    python benchmarks/evaluation/likelihood.py MODEL --other OTHER --harness-python PYTHON

The standard library's source, cut at its characters. On MODEL: nats a token by `munro eval
likelihood`'s own code on the trainer's path, and by lm-eval's rolling log-likelihood through the
served address, window by window. On OTHER, with another tokenizer: how many bytes are predicted.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sysconfig
from pathlib import Path
from typing import Any

import torch

from munro.base_model.checkpoint import Checkpoint
from munro.evaluation.likelihood.config import read_suite
from munro.evaluation.likelihood.score import Figure, Windows, score, table, windows_of
from munro.evaluation.process import run, words_of
from munro.evaluation.serve import Address, served

SUITE = """
[[sets]]
name = "code/stdlib"
category = "code"
files = "texts.jsonl"
window_bytes = {window}
context_bytes = 0

[[sets]]
name = "code/shown"
category = "code"
files = "source.jsonl"
window_bytes = {window}
context_bytes = {context}
max_bytes = {most}

[[sets]]
name = "long"
kind = "long"
files = "source.jsonl"
window_bytes = {window}
contexts = [0, {half}, {context}]

[[sets]]
name = "retrieval"
kind = "retrieval"
files = "source.jsonl"
document_bytes = {window}
contexts = [0, {half}]
"""
TASKS = Path(__file__).with_name("tasks").absolute()


def write(out: Path, num_bytes: int, window: int) -> Path:
    """The suite and its texts: windows as texts of their own, so that a peer cuts nothing."""
    from munro.evaluation.likelihood.windows import beginning, pieces

    files = [Path(sysconfig.get_path("stdlib")) / f"{name}.py" for name in ("ast", "shutil", "csv")]
    source = [beginning(file.read_text(), num_bytes // len(files)) for file in files]
    cut = [piece for text in source for piece in pieces(text, window)]
    out.mkdir(parents=True, exist_ok=True)
    for name, texts in (("texts", cut), ("source", source)):
        lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
        (out / f"{name}.jsonl").write_text(lines)
    suite = out / "suite.toml"
    sizes = {"window": window, "context": window, "half": window // 2, "most": num_bytes // 2}
    suite.write_text(SUITE.format(**sizes))
    return suite


def ours(model: str, suite: Path) -> tuple[list[Figure], list[float]]:
    """Figures of the suite, and nats of each window of its first set alone."""
    checkpoint = Checkpoint(Path(model))
    tokenizer, loaded = checkpoint.tokenizer(), checkpoint.model(dtype=torch.float32)
    asked = windows_of(read_suite(suite), suite.parent, tokenizer)
    figures = score(loaded, tokenizer, asked)
    alone = []
    for window in asked[0].windows:
        one = Windows(name="one", category=None, context_bytes=0, windows=(window,))
        (figure,) = score(loaded, tokenizer, [one])
        alone.append(figure.nll * figure.num_tokens)
    return figures, alone


def theirs(model: str, address: Address, python: str, out: Path) -> list[float]:
    """Nats of each text, by lm-eval through the address."""
    logs = out / "lm-eval"
    shutil.rmtree(logs, ignore_errors=True)
    told = {
        "model": address.model, "base_url": f"{address.base_url}/completions", "tokenizer": model,
        "tokenizer_backend": "huggingface", "max_length": 2048, "num_concurrent": 1,
    }  # fmt: skip
    command = [python, "-m", "lm_eval", "run", "--model", "local-completions"]
    command += ["--model_args", ",".join(f"{key}={value}" for key, value in told.items())]
    command += ["--tasks", "munro_rolling", "--include_path", str(TASKS), "--log_samples"]
    command += ["--output_path", str(logs)]
    os.chdir(out)  # where lm-eval looks for the texts
    variables = {**os.environ, "OPENAI_API_KEY": address.key, "HF_HUB_OFFLINE": "1"}
    variables.pop("PYTHONPATH", None)
    log = out / "lm-eval.log"
    if run(command, variables, log) != 0:
        raise SystemExit(f"lm-eval failed: {words_of(log)} ({log})")
    (file,) = logs.rglob("samples_*.jsonl")
    rows: list[dict[str, Any]] = [json.loads(line) for line in file.read_text().splitlines()]
    return [-_number(row["resps"]) for row in sorted(rows, key=lambda row: int(row["doc_id"]))]


def _number(value: Any) -> float:
    while isinstance(value, list):
        value = value[0]
    return float(value)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--other", default="")
    parser.add_argument("--harness-python", default="")
    parser.add_argument("--bytes", type=int, default=24_000)
    parser.add_argument("--window", type=int, default=256)
    parser.add_argument("--out", default="benchmark-likelihood")
    asked = parser.parse_args()
    out = Path(asked.out).absolute()
    suite = write(out, asked.bytes, asked.window)
    figures, alone = ours(asked.model, suite)
    print(asked.model)
    print(table(figures, None))
    summary: dict[str, Any] = {"model": asked.model, "nats_a_token": figures[0].nll}
    if asked.other:
        others, _ = ours(asked.other, suite)
        print(asked.other)
        print(table(others, None))
        pairs = list(zip(figures, others, strict=True))
        same = [one.num_bytes == other.num_bytes for one, other in pairs]
        tokens = [(one.num_tokens, other.num_tokens) for one, other in pairs]
        summary["sets_of_equal_bytes"] = f"{sum(same)} of {len(same)}"
        print(f"bytes equal in {sum(same)} of {len(same)} sets; tokens {tokens}")
    if asked.harness_python:
        with served(Path(asked.model), template="plain", logs=str(out)) as address:
            peer = theirs(asked.model, address, asked.harness_python, out)
        num_tokens = figures[0].num_tokens
        apart = [abs(a - b) for a, b in zip(alone, peer, strict=True)]
        print(
            f"lm-eval rolling: {sum(peer) / num_tokens:.6f} nats a token, ours "
            f"{figures[0].nll:.6f}: {abs(sum(peer) - sum(alone)) / num_tokens:.2e} apart; of "
            f"{len(peer)} windows the worst {max(apart):.2e} nats in all, the median "
            f"{statistics.median(apart):.2e}"
        )
        summary["lm_eval_nats_a_token"] = sum(peer) / num_tokens
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
