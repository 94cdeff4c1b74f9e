"""What phases of a machine need and is not there: told before hours go into those before them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from munro.base_model.checkpoint import Checkpoint
from munro.base_model.hub import HubError, glance, is_hub_name
from munro.base_model.training.inputs import missing
from munro.base_model.training.recipe import PretrainRecipe
from munro.envs.loader import BadEnvironment
from munro.envs.problem_set import ProblemSet
from munro.machine.loading import check
from munro.machine.pipeline.plan import MANIFEST, Phase, Standing
from munro.machine.pipeline.questions import built_in
from munro.machine.run.tracking import TrackingUnavailable
from munro.machine.run.tracking import check as check_trackers


def lacking(phase: Phase) -> list[str]:
    """Inputs of a phase that nothing in the machine makes and that are not there, a line each."""
    if phase.standing is Standing.DONE:
        return []
    if phase.kind == "pretrain":
        return missing(PretrainRecipe.model_validate(phase.orders["recipe"]))
    if phase.kind == "questions":
        return _of_questions(phase)
    if phase.kind == "climb":
        if not _are_built(phase):
            return []  # its tasks are not there before another phase has made them
        return _of_climb(phase.orders["recipe"], takes_model="model" in phase.takes)
    return []


def _are_built(phase: Phase) -> bool:
    made = (phase.folder.with_name(name) / MANIFEST for name in phase.takes.get("questions", ()))
    return all(manifest.is_file() for manifest in made)


def _of_questions(phase: Phase) -> list[str]:
    from munro.questions.config import QuestionsConfig
    from munro.questions.planning import planned

    out = str(built_in(phase.folder))
    return list(
        planned(QuestionsConfig.model_validate({**phase.orders["recipe"], "out": out})).lacks
    )


def _of_climb(recipe: Mapping[str, Any], *, takes_model: bool) -> list[str]:
    config = check(recipe, source="a climb's recipe")
    found = []
    try:
        check_trackers(config.tracking)
        ProblemSet(config.env, config.seed).task(0)
    except (BadEnvironment, TrackingUnavailable) as error:
        found.append(str(error))
    path = "" if takes_model else config.model.path
    if is_hub_name(path):
        try:
            glance(path, revision=config.model.revision)
        except HubError as error:
            found.append(f"model.path = {path}: {error.cause}")
    elif path and (lacks := Checkpoint(Path(path).expanduser()).missing()):
        found.append(f"model.path = {path}: {', '.join(lacks)} missing")
    return found
