"""A new base for a climb: may it be one, and the request that the climb takes up.

A running climb reads the request at its next step boundary, a stopped one when it starts again.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from pathlib import Path

import click

from munro.base_model.checkpoint import Checkpoint
from munro.base_model.hub import folder_of
from munro.machine.climb.start import has_nothing_left
from munro.machine.config import RunConfig
from munro.machine.loading import BadConfig, check
from munro.machine.run.folder import RunFolder
from munro.machine.run.restarts import Request, write_request


def run_rebase(path: str, onto: str) -> int:
    """Ask the climb in `path` to go on from a distillation onto the checkpoint `onto`.

    Raises:
        RunError: there is no run.
        BadConfig: the base has another vocabulary or template, or the run takes no more steps.
        CheckpointError: the base is missing or incomplete.
    """
    run = RunFolder.existing(path)
    info = run.read_info()
    config = check(run.read_config() or {}, source=str(run.config_file))
    if has_nothing_left(run, config):
        raise BadConfig(
            f"{run.path} is finished: it distils no more. Have it climb on first (a larger "
            f"--num_steps, with --force), or make a checkpoint of its traces: munro distill "
            f"{run.path} --onto {onto} --out CHECKPOINT"
        )
    base = Checkpoint(folder_of(onto).resolve()).require().path
    refuse_foreign(Path(info.provenance["model"] if info else ""), base, config)
    stamp = f"{datetime.now(UTC).isoformat(timespec='seconds')}-{uuid.uuid4().hex[:8]}"
    write_request(run, Request(base=str(base), id=stamp))
    when = (
        "at the next distillation that its config asks for"
        if "new_base" not in config.distill.on
        else "after its present step"
        if run.holder
        else "when it is started again"
    )
    click.echo(f"{run.path} distils onto {base} {when}, and goes on from there.")
    return 0


def refuse_foreign(model: Path, base: Path, config: RunConfig) -> None:
    """What was sampled by `model` must mean the same to `base`, unless it is written anew.

    Raises:
        BadConfig: another vocabulary, or another chat template where the climb uses it.
        CheckpointError: one of the two is missing or incomplete.
    """
    if config.distill.template != "keep":
        return
    ours, theirs = Checkpoint(model).require().tokenizer(), Checkpoint(base).require().tokenizer()
    mend = 'Take a base with the same tokenizer, or set distill.template = "chat" to have the '
    mend += "traces written anew for it."
    ours_by_token, theirs_by_token = ours.get_vocab(), theirs.get_vocab()
    if ours_by_token != theirs_by_token:
        different = sorted(set(ours_by_token.items()) ^ set(theirs_by_token.items()))
        raise BadConfig(
            f"{base} has another vocabulary than {model}: {len(theirs_by_token)} tokens against "
            f"{len(ours_by_token)}, and {different[0][0]!r} is one that differs. {mend}"
        )
    if config.rollout.template == "chat" and ours.chat_template != theirs.chat_template:
        raise BadConfig(f"{base} has another chat template than {model}. {mend}")
