"""`munro eval --harness`: somebody else's tasks against a served checkpoint, kept as any result."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from munro.evaluation.harnessed import Order, attempts, is_whole, with_lengths
from munro.evaluation.page import write_page
from munro.evaluation.results import Results
from munro.evaluation.told import entry_lines
from munro.machine.run.lock import held_folder
from munro.rewards.serving.config import JudgeServerConfig

if TYPE_CHECKING:
    from munro.evaluation.templates import Template
    from munro.evaluation.types import AttemptRow

HOME = "evals"


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """Which checkpoint, and how it is served.

    Example:
        Serving(model="runs/quickstart/checkpoints/step-001040")
    """

    model: str
    template: Template | None = None
    out: str = ""
    max_model_len: int = 0


def run_harness(
    asked: Order, serving: Serving, temperature: float | None, top_p: float | None
) -> int:
    """Run a harness as often as asked, keep every attempt, and print what they come to.

    Args:
        asked: what to run; its sampling counts for nothing.
        serving: of what.
        temperature: of sampling; None takes the climb's.
        top_p: likewise.

    Raises:
        BadHarness: the order makes no sense, or the harness did not do it.
        CheckpointError: the model's folder is missing or incomplete.
        BadResults: the folder holds something else.
    """
    from munro.base_model.checkpoint import Checkpoint
    from munro.base_model.hub import locate
    from munro.evaluation.serve import Address, name_of, served
    from munro.machine.evaluating.manner import manner_of
    from munro.machine.evaluating.plan import model_of

    located = locate(serving.model)
    folder = Checkpoint(located.folder).require().path
    manner = manner_of(folder, serving.template)
    order = replace(
        asked,
        temperature=manner.sampling["temperature"] if temperature is None else temperature,
        top_p=manner.sampling["top_p"] if top_p is None else top_p,
    )
    order.checked()
    told = {"model": model_of(located, serving.model), "template": manner.template}
    where = Path(serving.out) if serving.out else Path(HOME) / _name(folder, order, told)
    logs = where / "harness"
    with held_folder(where, "give this evaluation another folder with --out"), ExitStack() as stack:
        click.echo(f"{'on':<16} {', '.join(order.tasks)} by {order.harness}; {manner.said}")
        click.echo(f"{'kept in':<16} {where}")
        address = Address(base_url="", model=name_of(folder))
        if not is_whole(order, address, logs):
            address = stack.enter_context(
                served(
                    folder,
                    template=manner.template,
                    args=manner.args,
                    sampling=manner.sampling,
                    logs=str(logs),
                    config=JudgeServerConfig(
                        max_model_len=serving.max_model_len, max_batch=max(32, order.concurrent)
                    ),
                )
            )
            for note in address.notes:
                click.echo(f"{'note':<16} {note}")
        rows = attempts(order, address, logs, lambda line: click.echo(line, err=True))
        tokenizer = Checkpoint(folder).tokenizer()
        count = lambda text: len(tokenizer.encode(text, add_special_tokens=False))  # noqa: E731
        _keep(where, with_lengths(rows, count, order.max_tokens), order, told)
    return 0


def _keep(where: Path, rows: list[AttemptRow], order: Order, told: dict[str, Any]) -> None:
    """Add what is not there yet, and tell."""
    results = Results(where)
    entries = dict.fromkeys(row.entry for row in rows)
    sampling = {
        "temperature": order.temperature, "top_p": order.top_p, "max_tokens": order.max_tokens,
    }  # fmt: skip
    results.begin(
        {
            "model": told["model"],
            "entries": {
                entry: {
                    "tasks": len({row.task for row in rows if row.entry == entry}),
                    "runs": order.runs,
                    "seed": order.seed,
                    "harness": order.harness,
                    "options": [*order.options],
                    "template": told["template"],
                    "sampling": sampling,
                }
                for entry in entries
            },
        }
    )
    kept = {(row.entry, row.task, row.run) for row in results.rows() if not row.failed}
    results.add(row for row in rows if (row.entry, row.task, row.run) not in kept)
    results.summarise()
    for entry in entries:
        click.echo(f"\n{entry}")
        for name, figure in entry_lines(results.rows(entry)):
            click.echo(f"{name:<16} {figure}")
    click.echo(f"{'page':<16} {write_page(results)}")


def _name(folder: Path, order: Order, told: dict[str, Any]) -> str:
    """A folder for just this model and just these questions, by a name that a person knows."""
    parts = [part for part in folder.parts[-3:] if part not in ("checkpoints", "runs", "/")][-2:]
    what = "+".join(Path(task.partition("@")[0]).stem for task in order.tasks)[:40]
    unasked = {"python": "", "concurrent": 0}  # they decide no answer
    text = json.dumps([told, repr(replace(order, **unasked))], sort_keys=True)  # type: ignore[arg-type]
    digest = blake2b(text.encode(), digest_size=3).hexdigest()
    return "-".join([*parts, Path(order.harness).stem, what, digest])
