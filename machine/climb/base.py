"""Which model a climb starts from: a folder the user names, or the embedded base."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from munro.base_model.checkpoint import Checkpoint
from munro.envs.arithmetic import is_held_out
from munro.machine.config import RunConfig
from munro.machine.loading import BadConfig
from munro.machine.run.console import Console

if TYPE_CHECKING:
    from munro.base_model.training.pretrain import StepMetrics


def model_folder(config: RunConfig, console: Console) -> Path:
    """The checkpoint to start from, trained first where it is the embedded base and not cached.

    Args:
        config: with a folder, where it names a model (`munro.machine.climb.models.in_place`).
        console: told how the embedded base comes along.

    Raises:
        CheckpointError: the folder is missing or incomplete.
        BadConfig: the model has no chat template, and the config asks for it.
    """
    if config.model.path:
        # processes on other nodes, and a later replay, stand in other folders
        checkpoint = Checkpoint(Path(config.model.path).expanduser().absolute()).look()
        require_template(checkpoint, config)
        return checkpoint.path
    from munro.base_model.small.quickstart import build_base  # seconds to import: a trainer

    console.phase("base model")
    total = config.base.training.num_steps

    def show(metrics: StepMetrics) -> None:
        console.pretrain(metrics.step, total, metrics.loss)

    return build_base(config.base, is_held_out=is_held_out, on_progress=show).path


def require_template(checkpoint: Checkpoint, config: RunConfig) -> None:
    """Refuse a base without a chat template before engines have loaded it to find that out.

    Raises:
        BadConfig: the recipe asks for the template, and the tokenizer has none.
    """
    if config.rollout.template == "chat" and not checkpoint.tokenizer().chat_template:
        raise BadConfig(
            f'{checkpoint.path} has no chat template, which rollout.template = "chat" asks for '
            "(a base model seldom has one). Take the instruct model, set rollout.template = "
            '"r1_zero" (a base that shall reason) or "plain", or give the tokenizer a template.'
        )
