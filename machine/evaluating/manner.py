"""How a checkpoint is to be asked by those who ask it at an address: as it was climbed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from munro.machine.climb.origin import origin_of
from munro.rewards.serving.template_keys import templates_in
from munro.rollout.config import RolloutConfig

if TYPE_CHECKING:
    from munro.evaluation.templates import Template

SAMPLING = ("temperature", "top_p")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """A template, what it is told, and how answers are sampled.

    Example:
        Manner(template="chat", args={}, sampling={"temperature": 1.0, "top_p": 0.97}, said="")
    """

    template: Template
    args: Mapping[str, Any]
    sampling: Mapping[str, float]
    said: str
    """A line for a person."""


def manner_of(folder: Path, template: Template | None) -> Manner:
    """As the checkpoint was climbed; where it does not say, in its own chat template.

    Args:
        folder: of the checkpoint.
        template: that is asked for; None takes the checkpoint's.

    Raises:
        CheckpointError: it is incomplete.
    """
    origin, defaults = origin_of(folder), RolloutConfig()
    rollout = dict(origin.config["rollout"]) if origin else {}
    sampling = {name: float(rollout.get(name, getattr(defaults, name))) for name in SAMPLING}
    if origin is None:
        own: Template = "chat" if templates_in(folder) else "r1_zero"
        chosen = template or own
        said = f"template {chosen}: the checkpoint does not say what it was climbed in"
        return Manner(template=chosen, args={}, sampling=sampling, said=said)
    theirs: Template = origin.template  # type: ignore[assignment]
    chosen = template or theirs
    args = origin.template_args if chosen == "chat" else {}
    said = f"template {chosen}, as {origin.run} at step {origin.step}"
    if chosen != theirs:
        said = f"template {chosen}, but it was climbed in {theirs}: other prompts than it knows"
    return Manner(template=chosen, args=args, sampling=sampling, said=said)
