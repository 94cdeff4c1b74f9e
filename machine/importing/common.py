"""What several trainers' settings have in common on their way into a recipe."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from munro.machine.importing.draft import Draft, Rule, Setting

TRACKERS = ("tensorboard", "wandb")
SHAPES = {
    "constant": "constant",
    "constant_with_warmup": "constant",
    "linear": "linear",
    "cosine": "cosine",
}
NO_SHAPE = "learner.schedule.shape is constant, linear or cosine"
OPTIMIZERS = {
    **dict.fromkeys(("adamw", "adamw_torch", "adamw_torch_fused", "adamw_hf", "AdamW"), "adamw"),
    **dict.fromkeys(("adamw_8bit", "adamw_bnb_8bit", "paged_adamw_8bit"), "adamw8bit"),
    "muon": "muon",
}
NO_OPTIMIZER = "learner.optimizer is adamw, adamw8bit or muon"


def number(value: Any) -> float:
    """A number, also where YAML 1.1 took "1e-6" for a text.

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, bool):
        raise ValueError("a number is wanted")
    return float(value)


def whole(value: Any) -> int:
    """A whole number; 2.0 and "2" are one.

    Raises:
        ValueError: it is none.
    """
    found = number(value)
    if found != int(found):
        raise ValueError("a whole number is wanted")
    return int(found)


def named(value: Any) -> str:
    """A name for a run, out of a name or of the path of a folder."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", Path(str(value)).name).strip("-._") or "imported"


def trackers(draft: Draft, setting: Setting) -> None:
    """Trackers that are named alike."""
    given = setting.value if isinstance(setting.value, list) else [setting.value]
    ours = [name for name in given if name in TRACKERS]
    if ours or set(given) <= {"none", "console", None}:
        draft.take(setting, "tracking", ours)
    others = [name for name in given if name not in (*TRACKERS, "none", "console", "file", None)]
    if others:
        draft.lack(setting, f"tracking takes a path for {', '.join(map(str, others))}")


def batch(
    draft: Draft, of: Sequence[Setting], *, group_size: int, per_step: float, per_wave: float
) -> None:
    """Group size, groups of a step, and steps to a weight update.

    Args:
        draft: that is written.
        of: settings that say so together.
        group_size: attempts at each task.
        per_step: groups of an optimizer step.
        per_wave: groups that are sampled with the same weights.
    """
    groups = max(1, math.floor(per_step))
    steps = max(1, round(per_wave / groups))
    draft.put("rollout.group_size", group_size)
    draft.put("batch.num_groups", groups)
    draft.put("sync.every_steps", steps)
    theirs = ", ".join(one.shown for one in of)
    draft.lines.append(
        f"{theirs} -> rollout.group_size = {group_size}, batch.num_groups = {groups}, "
        f"sync.every_steps = {steps}"
    )
    if per_step != groups:
        draft.lines.append(
            f"decided: batch.num_groups = {groups}, for a step takes whole groups, and theirs "
            f"{per_step:g}"
        )
    draft.decide("rollout.num_early", group_size, "for theirs samples a group whole")


def gates(draft: Draft, *, filters: bool) -> None:
    """Which groups are trained on: as theirs does."""
    bounds = [0.01, 0.99] if filters else [0.0, 1.0]
    why = "drops groups that all pass or all fail" if filters else "trains on every group"
    draft.decide("rollout.early_pass_rate", bounds, f"for {draft.trainer} {why} as set here")
    draft.decide("rollout.pass_rate", bounds, "likewise")


def as_paid_there(draft: Draft) -> None:
    """What the report's recipe adds to a reward, and theirs does not."""
    why = f"for {draft.trainer} pays nothing for it unless a reward function does"
    for key in ("language_weight", "length_weight"):
        draft.decide(f"rewards.{key}", 0.0, why)


def clip(draft: Draft, low: Setting, high: Setting) -> None:
    """Bounds 1 - low and 1 + high that do not move."""
    draft.take(low, "clip.eps", number(low.value))
    draft.take(high, "clip.eps_high", number(high.value))
    draft.decide("clip.widening_max", 0.0, f"for {draft.trainer}'s clip does not move")


def lora(draft: Draft, rank: Setting | None, others: dict[str, Setting]) -> None:
    """An adapter, where there is a rank above 0.

    Args:
        draft: that is written.
        rank: of it.
        others: by our name in [learner.lora].
    """
    if rank is None or not rank.value:
        return
    draft.take(rank, "learner.lora.rank", whole(rank.value))
    for name, setting in others.items():
        value = setting.value
        if name == "modules" and isinstance(value, str):
            value = [] if value in ("all-linear", "all_linear") else [value]
        draft.take(setting, f"learner.lora.{name}", value)


def whole_waves(draft: Draft) -> None:
    """On-policy checkpoints stand between weight updates, at the nearest step to theirs."""
    steps = draft.raw["sync"]["every_steps"]
    saved = draft.raw.get("checkpoint", {}).get("every_steps", 50)
    if draft.raw["sync"].get("max_staleness") == 0 and saved % steps:
        nearest = steps * max(1, round(saved / steps))
        draft.decide("checkpoint.every_steps", nearest, "the nearest end of a weight update")


def evaluations(ours: str) -> Rule:
    """Steps between something; below 1 never."""

    def rule(draft: Draft, setting: Setting) -> None:
        steps = number(setting.value)
        if 0 < steps < 1:
            draft.lack(setting, f"{ours} counts steps, and this is a share of them")
        else:
            draft.take(setting, ours, max(0, int(steps)))

    return rule
