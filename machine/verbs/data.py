"""`munro data` and `munro tokenizer`: from files to token ids."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from munro.base_model.data.config import SourceConfig
from munro.base_model.data.errors import DataError


def run_build(file: str, overrides: Sequence[tuple[str, str]], *, dry_run: bool) -> int:
    """Build, or say what would be built.

    Raises:
        BadConfig: the file or a key is wrong.
        DataError: an input is.
    """
    from munro.base_model.data.config import DataConfig
    from munro.machine.loading import load_as

    config = load_as(DataConfig, file, overrides)
    from munro.base_model.data.pipeline.funnel import table

    if dry_run:
        from munro.base_model.data.pipeline.steps import plan

        for planned in plan(config):
            click.echo(
                f"{planned.source.name}: {len(planned.parts)} parts, "
                f"{planned.size_bytes / 1e6:,.1f} MB; {', '.join(planned.source.stages_in_order)}"
            )
        click.echo(f"would be written to {config.out}")
        return 0
    from munro.base_model.data.pipeline.build import FUNNEL, build

    funnels = build(config, on_progress=lambda line: click.echo(line, err=True))
    click.echo(table(funnels))
    click.echo(f"wrote {config.out}; the funnel is in {Path(config.out) / FUNNEL}")
    return 0


def run_tokenizer(files: Sequence[str], vocab_size: int, out: str) -> int:
    """Train a tokenizer and write its folder.

    Raises:
        DataError: a file is not there, or there is no text.
    """
    from munro.base_model.data.config import LimitsConfig
    from munro.base_model.data.documents import Counts
    from munro.base_model.data.read.listing import parts
    from munro.base_model.data.read.reading import read
    from munro.base_model.data.shards.encoder import train

    if lost := [file for file in files if not Path(file).exists()]:
        raise DataError(f"there is no file or folder {lost[0]}.")
    source, counts, limits = SourceConfig(name="text", paths=tuple(files)), Counts(), LimitsConfig()
    pieces = [piece for part in parts(source, 1 << 24) for piece in part.pieces]
    documents = (one for piece in pieces for one in read(piece, source, limits, counts))
    tokenizer = train((one.text for one in documents), vocab_size=vocab_size)
    tokenizer.save_pretrained(out)
    skipped = ", ".join(f"{number} {name}" for name, number in sorted(counts.dropped.items()))
    click.echo(f"wrote {out}: {len(tokenizer):,} tokens{f'; left out: {skipped}' * bool(skipped)}")
    return 0
