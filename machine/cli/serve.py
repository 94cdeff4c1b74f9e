"""`munro serve`: an OpenAI address on a checkpoint."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from munro.evaluation.templates import Template

CHOICES = click.Choice(["chat", "r1_zero", "plain"])


@click.command()
@click.argument("checkpoint")
@click.option(
    "--template",
    type=CHOICES,
    default=None,
    help="How a conversation becomes a prompt; by default as the checkpoint was climbed in.",
)
@click.option("--port", default=8000, show_default=True, help="On loopback; 0 takes a free one.")
@click.option("--max-model-len", default=0, help="Tokens of prompt and answer; 0: the model's own.")
@click.option("--max-batch", default=32, show_default=True, help="Requests worked on at once.")
@click.option("--logs", default=".", show_default=True, help="Folder for the server's log.")
def serve(
    checkpoint: str,
    template: Template | None,
    port: int,
    max_model_len: int,
    max_batch: int,
    logs: str,
) -> None:
    """Serve CHECKPOINT as an OpenAI address whose prompts are token for token a climb's.

    CHECKPOINT is a folder, or a name on the hub. Prints the address and a key, once, and serves
    until Ctrl-C.
    """
    from munro.base_model.checkpoint import Checkpoint
    from munro.base_model.hub import locate
    from munro.evaluation.serve import served, until_it_ends
    from munro.machine.evaluating.manner import manner_of
    from munro.rewards.serving.config import JudgeServerConfig

    folder = Checkpoint(locate(checkpoint).folder).require().path
    manner = manner_of(folder, template)
    config = JudgeServerConfig(max_model_len=max_model_len, max_batch=max_batch)
    click.echo(manner.said)
    with served(
        folder,
        template=manner.template,
        args=manner.args,
        sampling=manner.sampling,
        port=port,
        logs=logs,
        config=config,
    ) as address:
        for line in address.notes:
            click.echo(f"note: {line}")
        defaults = ", ".join(f"{name} {value:g}" for name, value in manner.sampling.items())
        click.echo(
            f"serving   {checkpoint} as {address.model}; {defaults} where a request is silent"
        )
        click.echo(f"base_url  {address.base_url}")
        click.echo(f"key       {address.key}")
        sys.stdout.flush()
        until_it_ends(address)
