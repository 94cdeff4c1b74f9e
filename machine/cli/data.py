"""`munro data` and `munro tokenizer` on the command line."""

from __future__ import annotations

import sys

import click

from munro.machine.cli.arguments import OVERRIDABLE, first
from munro.machine.cli.listing import Listing


@click.group(cls=Listing)
def data() -> None:
    """Make what a base model reads."""


@data.command(name="build", context_settings=OVERRIDABLE)
@first("file")
@click.option("--dry-run", is_flag=True, help="Say what would be read; read and write nothing.")
@click.pass_context
def data_build(context: click.Context, file: str, dry_run: bool) -> None:
    """Clean, deduplicate and tokenise the sources of FILE; resume where it stopped."""
    from munro.machine.loading import overrides_of
    from munro.machine.verbs.data import run_build

    sys.exit(run_build(file, overrides_of(context.args), dry_run=dry_run))


@click.group(cls=Listing)
def tokenizer() -> None:
    """Make tokenizers."""


@tokenizer.command(name="train")
@click.argument("files", nargs=-1, required=True)
@click.option("--vocab-size", required=True, type=click.IntRange(min=300), help="Tokens at most.")
@click.option("--out", required=True, help="Folder to write.")
def tokenizer_train(files: tuple[str, ...], vocab_size: int, out: str) -> None:
    """Train a byte-level BPE tokenizer on FILES, which may be folders."""
    from munro.machine.verbs.data import run_tokenizer

    sys.exit(run_tokenizer(files, vocab_size, out))
