"""`munro eval likelihood`: how probable a suite's texts are to a checkpoint."""

from __future__ import annotations

from pathlib import Path

import click


def run_likelihood(model: str, suite: str, reference: str, out: str) -> int:
    """Score a suite, print its figures, and write them where `out` says.

    Raises:
        BadSuite: the suite, a text of it or the reference cannot be used.
        CheckpointError: the model's folder is missing or incomplete.
    """
    from munro.evaluation.likelihood.config import read_suite

    file = Path(suite)
    config = read_suite(file)  # before torch is imported, which takes seconds
    import torch

    from munro.base_model.checkpoint import Checkpoint
    from munro.base_model.hub import locate
    from munro.evaluation.likelihood.score import as_json, reference_for, score, table, windows_of

    checkpoint = Checkpoint(locate(model).folder).prove()
    tokenizer = checkpoint.tokenizer()
    asked = windows_of(config, file.absolute().parent, tokenizer)
    loaded = checkpoint.model(dtype=torch.float32)
    if torch.cuda.is_available():
        loaded = loaded.cuda()
    figures = score(loaded, tokenizer, asked)
    if out:
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        Path(out).write_text(as_json(figures), encoding="utf-8")
    compared = reference_for(Path(reference), figures) if reference else None
    click.echo(table(figures, compared))
    if out:
        click.echo(f"wrote {out}")
    return 0
