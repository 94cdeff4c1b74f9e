"""`munro eval --harness` and `munro eval likelihood`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from munro.machine.cli.serve import CHOICES

if TYPE_CHECKING:
    from munro.evaluation.templates import Template


@click.command(name="harness")
@click.argument("files", nargs=-1)
@click.option("--harness", required=True, help="lm-eval, inspect, or FILE.py:CLASS.")
@click.option("--model", required=True, help="A checkpoint folder, or a name on the hub.")
@click.option("--tasks", default="", help="As the harness names them, with commas between.")
@click.option("--runs", default=4, show_default=True, help="Runs, each with a seed of its own.")
@click.option("--seed", default=0, show_default=True, help="From which the runs' seeds follow.")
@click.option("--temperature", type=float, default=None, help="By default as it was climbed.")
@click.option("--top-p", type=float, default=None, help="Likewise.")
@click.option("--max-tokens", default=1024, show_default=True, help="Of a reply.")
@click.option("--limit", default=0, help="Samples of each task; all unless given.")
@click.option("--concurrent", default=16, show_default=True, help="Requests at once.")
@click.option("--include", default="", help="Folder of task files of your own (lm-eval).")
@click.option(
    "--harness-python", default="", help="Interpreter that has it; this one's by default."
)
@click.option("--option", "options", multiple=True, help="A further word for the harness; repeat.")
@click.option("--template", type=CHOICES, default=None, help="By default as it was climbed in.")
@click.option("--max-model-len", default=0, help="Tokens of prompt and reply; 0: the model's own.")
@click.option("--out", default="", help="Folder to keep it in; one under evals/ unless given.")
def harness(
    files: tuple[str, ...],
    harness: str,
    model: str,
    tasks: str,
    runs: int,
    seed: int,
    temperature: float | None,
    top_p: float | None,
    max_tokens: int,
    limit: int,
    concurrent: int,
    include: str,
    harness_python: str,
    options: tuple[str, ...],
    template: Template | None,
    max_model_len: int,
    out: str,
) -> None:
    """Run another project's tasks against a served checkpoint (munro eval --harness NAME).

    FILES are tasks of inspect. Every run is a process of its own with a seed of its own; means and
    intervals are Munro's. A run that is whole is not made again.
    """
    from munro.evaluation.harnessed import Order
    from munro.machine.evaluating.harnessed import Serving, run_harness

    named = tuple(part.strip() for part in tasks.split(",") if part.strip())
    order = Order(
        harness=harness,
        tasks=(*files, *named),
        runs=runs,
        seed=seed,
        max_tokens=max_tokens,
        limit=limit,
        concurrent=concurrent,
        include=include,
        python=harness_python,
        options=options,
    )
    serving = Serving(model=model, template=template, out=out, max_model_len=max_model_len)
    sys.exit(run_harness(order, serving, temperature, top_p))


@click.command()
@click.argument("suite")
@click.option("--model", required=True, help="A checkpoint folder, or a name on the hub.")
@click.option("--reference", default="", help="evaluation.json of the model that Eq. 3 divides by.")
@click.option("--out", default="", help="JSON file of figures to write; a reference for others.")
def likelihood(suite: str, model: str, reference: str, out: str) -> None:
    """Nats a token and bits a byte of the texts in SUITE, a TOML file."""
    from munro.machine.evaluating.likelihood import run_likelihood

    sys.exit(run_likelihood(model, suite, reference, out))
