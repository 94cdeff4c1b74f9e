"""What keeps a pre-training from beginning: told by a dry run, and before anything is trained."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from munro.base_model.data.errors import DataError
from munro.base_model.training.inputs import missing
from munro.base_model.training.recipe import PretrainRecipe
from munro.machine.run.folder import difference


def changed(recipe: PretrainRecipe, folder: Path) -> str:
    """What differs from the recipe that the run in `folder` was begun with, in a sentence."""
    file = folder / "recipe.json"
    if not file.is_file():
        return ""
    before: Mapping[str, object] = json.loads(file.read_text(encoding="utf-8"))
    lines = difference(before, recipe.model_dump(mode="json"))
    if not lines:
        return ""
    return (
        f"{folder} was begun with another recipe ({'; '.join(lines[:3])}"
        f"{'; ...' if len(lines) > 3 else ''}): give this one another --out, or --force to "
        "go on with it; finished phases stay as they are."
    )


def unfit(recipe: PretrainRecipe, folder: Path) -> str:
    """What is wrong with the text once it is tokenised, in a sentence; nothing is kept of it.

    Shards need not be read; text is tokenised, as it would be when the training begins.
    """
    from munro.base_model.data.shards.texts import prepare
    from munro.base_model.training.phases import DATA, require_enough
    from munro.base_model.training.trainer import TrainingError

    with TemporaryDirectory(prefix="munro-pretrain-") as scratch:
        there = (folder / DATA).is_dir()
        try:
            require_enough(recipe, prepare(recipe.data, folder / DATA if there else Path(scratch)))
        except (DataError, TrainingError) as error:
            return str(error)
    return ""


def not_ready(recipe: PretrainRecipe, folder: Path, *, force: bool) -> list[str]:
    """Everything that would stop the training at its beginning, a sentence each."""
    found = missing(recipe)
    if not force and (differs := changed(recipe, folder)):
        found.append(differs)
    if not found and (wrong := unfit(recipe, folder)):
        found.append(wrong)
    return found
