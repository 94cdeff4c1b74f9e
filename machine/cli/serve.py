"""`munro serve`: an OpenAI address on a checkpoint; and what a checkpoint says of its prompts."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from munro.evaluation.templates import Template

CHOICES = click.Choice(["chat", "r1_zero", "plain"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How a checkpoint is to be asked.

    Example:
        Manner(template="chat", args={}, sampling={"temperature": 1.0, "top_p": 0.97}, said=())
    """

    template: Template
    args: Mapping[str, Any]
    sampling: Mapping[str, float]
    said: tuple[str, ...]
    """Lines for a person."""


def manner_of(folder: Path, template: Template | None) -> Manner:
    """As the checkpoint was climbed; where it does not say, in its own chat template.

    Args:
        folder: of the checkpoint.
        template: that is asked for; None takes the checkpoint's.

    Raises:
        CheckpointError: it is incomplete.
    """
    from munro.machine.climb.origin import origin_of
    from munro.rewards.serving.template_keys import templates_in
    from munro.rollout.config import RolloutConfig

    origin = origin_of(folder)
    rollout = dict(origin.config["rollout"]) if origin else {}
    defaults = RolloutConfig()
    sampling = {
        name: float(rollout.get(name, getattr(defaults, name))) for name in ("temperature", "top_p")
    }
    if origin is None:
        chosen: Template = template or ("chat" if templates_in(folder) else "r1_zero")
        said = f"template {chosen}: the checkpoint does not say what it was climbed in"
        return Manner(template=chosen, args={}, sampling=sampling, said=(said,))
    theirs: Template = origin.template  # type: ignore[assignment]
    chosen = template or theirs
    args = origin.template_args if chosen == "chat" else {}
    said = f"template {chosen}, as {origin.run} at step {origin.step}"
    if chosen != theirs:
        said = f"template {chosen}, but it was climbed in {theirs}: other prompts than it knows"
    return Manner(template=chosen, args=args, sampling=sampling, said=(said,))


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
    from munro.rewards.serving.config import JudgeServerConfig

    folder = Checkpoint(locate(checkpoint).folder).require().path
    manner = manner_of(folder, template)
    config = JudgeServerConfig(max_model_len=max_model_len, max_batch=max_batch)
    told = {"template": manner.template, "args": manner.args, "sampling": manner.sampling}
    for line in manner.said:
        click.echo(line)
    with served(folder, **told, port=port, logs=logs, config=config) as address:  # type: ignore[arg-type]
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
