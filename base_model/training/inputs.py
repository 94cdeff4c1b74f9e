"""What a pre-training reads and does not make: whether it is there."""

from __future__ import annotations

from pathlib import Path

from munro.base_model.checkpoint import Checkpoint
from munro.base_model.data.read.pieces import expanded
from munro.base_model.data.read.plain_texts import TEXTS
from munro.base_model.data.texts_config import name_of
from munro.base_model.hub import HubError, glance, is_hub_name
from munro.base_model.training.recipe import PretrainRecipe

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
    if is_hub_name(recipe.model.start):
        try:
            glance(recipe.model.start)
        except HubError as error:
            found.append(f"model.start = {recipe.model.start}: {error.cause}")
    elif recipe.model.start:
        lacks = Checkpoint(Path(recipe.model.start).expanduser()).missing()
        if lacks:
            found.append(f"model.start = {recipe.model.start}: {', '.join(lacks)} missing")
    if recipe.reference and not Path(recipe.reference).expanduser().is_file():
        found.append(f"reference: there is no file {recipe.reference}")
    return found
