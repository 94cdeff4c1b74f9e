"""What keeps a pre-training from beginning: told by a dry run, and before anything is trained."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from munro.base_model.checkpoint import Checkpoint
from munro.base_model.data.errors import DataError
from munro.base_model.data.read.pieces import expanded
from munro.base_model.data.read.plain_texts import TEXTS
from munro.base_model.data.texts_config import name_of
from munro.base_model.training.recipe import PretrainRecipe
from munro.machine.run.folder import difference

TOKENIZER = ("tokenizer.json", "tokenizer_config.json")


def missing(recipe: PretrainRecipe) -> list[str]:
    """Files and folders that the recipe names and that are not there, a sentence each."""
    found = []
    data = recipe.data
    if data.tokenizer:
        folder = Path(data.tokenizer).expanduser()
        if not any((folder / name).is_file() for name in TOKENIZER):
            found.append(f"data.tokenizer: there is no tokenizer in {folder}")
    for source in data.sources:
        if source.path not in TEXTS and not expanded(source.path).exists():
            found.append(
                f"data.sources: {name_of(source)} is to be read from {source.path}, "
                "which is not there"
            )
    if recipe.model.start:
        lacks = Checkpoint(Path(recipe.model.start).expanduser()).missing()
        if lacks:
            found.append(f"model.start = {recipe.model.start}: {', '.join(lacks)} missing")
    if recipe.reference and not Path(recipe.reference).expanduser().is_file():
        found.append(f"reference: there is no file {recipe.reference}")
    return found


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
