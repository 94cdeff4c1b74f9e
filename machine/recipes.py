"""Where a recipe's name leads, and which command a TOML file is for.

mine.toml, runs/x/config.toml    the file
mine                             mine.toml of the working directory, else the recipe of that
                                 name that comes with Munro (`munro climb quickstart`)
"""

from __future__ import annotations

import difflib
import importlib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

import munro
from munro.machine.errors import BadConfig


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of TOML file."""

    verb: str
    """The command that it is for."""
    module: str
    tree: str
    """Class of its config tree, in `module`."""

    @property
    def model(self) -> type[BaseModel]:
        """The config tree."""
        found: type[BaseModel] = getattr(importlib.import_module(self.module), self.tree)
        return found

    def fits(self, raw: Mapping[str, Any]) -> bool:
        """Whether its tables and keys are those of this kind, as far as the top level tells."""
        fields = self.model.model_fields
        needed = {name for name, field in fields.items() if field.is_required()}
        return needed <= raw.keys() <= fields.keys()


KINDS = (
    Kind("climb", "munro.machine.config", "RunConfig"),
    Kind("machine", "munro.machine.pipeline.config", "MachineConfig"),
    Kind("pretrain", "munro.base_model.training.recipe", "PretrainRecipe"),
    Kind("ladder", "munro.base_model.scaling.config", "LadderConfig"),
    Kind("mix", "munro.base_model.scaling.mixture_config", "MixConfig"),
    Kind("data build", "munro.base_model.data.config", "DataConfig"),
    Kind("questions build", "munro.questions.config", "QuestionsConfig"),
)
"""By class name, so that naming a file of the wrong kind is all that imports the others."""


def kind_of(tree: type[BaseModel]) -> Kind | None:
    """The kind of file that holds such a tree; None where no command takes one alone."""
    return next((kind for kind in KINDS if kind.tree == tree.__name__), None)


def bundled() -> dict[str, Path]:
    """The recipes that come with Munro, by name."""
    folders = [Path(folder) / "configs" for folder in munro.__path__]
    files = [file for folder in folders for file in sorted(folder.glob("*.toml"))]
    return {file.stem: file for file in files}


def recipe_file(name: str, tree: type[BaseModel] | None = None) -> Path:
    """The file that a person means by `name`; a file of that name wins over a recipe of ours.

    Args:
        name: a path, or the bare name of a recipe.
        tree: of what is wanted, for what is said where there is no such file.

    Raises:
        BadConfig: there is none, or it is a folder; says what lies nearest.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path
    if is_bare := path.name == name:
        if (beside := Path(f"{name}.toml")).is_file():
            return beside
        if found := bundled().get(name.removesuffix(".toml")):
            return found
    if path.is_dir():
        raise BadConfig(f"{name} is {_folder(path, tree)}")
    if path.exists():  # /dev/stdin, a pipe
        return path
    what = "file or recipe" if is_bare and _examples(tree) else "file"
    raise BadConfig(f"there is no {what} {name}. {_nearest(path, tree)}".rstrip())


def refuse_another_kind(raw: Mapping[str, Any], tree: type[BaseModel], source: str) -> None:
    """Say which command a file is for, where it is plainly not for this one.

    Args:
        raw: as read.
        tree: that was wanted.
        source: the file, as the person named it.

    Raises:
        BadConfig: it is empty, another command's, or nobody's.
    """
    wanted = kind_of(tree)
    if wanted is None or wanted.fits(raw):
        return
    if not raw:
        raise BadConfig(f"{source} is empty: {_needs(tree)}")
    if other := next((kind for kind in KINDS if kind != wanted and kind.fits(raw)), None):
        raise BadConfig(
            f"{source} is a file for `munro {other.verb}`, not for `munro {wanted.verb}`: "
            f"munro {other.verb} {source}"
        )
    if not raw.keys() & tree.model_fields.keys():
        held = ", ".join(list(raw)[:4])
        raise BadConfig(
            f"{source} is no file for `munro {wanted.verb}`: it holds {held}, but {_needs(tree)}"
        )


def _needs(tree: type[BaseModel]) -> str:
    needed = [name for name, field in tree.model_fields.items() if field.is_required()]
    like = f", as {examples[0]} does" if (examples := _examples(tree)) else ""
    return f"it must set {' and '.join(needed)}{like}"


def _folder(path: Path, tree: type[BaseModel] | None) -> str:
    """What kind of folder it is, and what to give instead."""
    if (path / "run.json").is_file() and (path / "config.toml").is_file():
        return f"the folder of a run: its recipe is {path / 'config.toml'}"
    inside = sorted(str(file) for file in path.glob("*.toml"))[:3]
    if inside:
        return f"a folder: give one of its files, {' or '.join(inside)}"
    examples = ", ".join(_examples(tree)[:3])
    return f"a folder: give a TOML file{f', or a recipe of ours ({examples})' if examples else ''}"


def _nearest(path: Path, tree: type[BaseModel] | None) -> str:
    """The file or the recipe whose name is most like it."""
    stem = path.name.removesuffix(".toml")
    near: dict[str, str] = {}
    for folder in (Path("configs"), Path(), path.parent):
        near |= {file.stem: str(file) for file in sorted(folder.glob("*.toml"))}
    near |= {name: name for name in bundled() if name not in near or near[name] == f"{name}.toml"}
    alike = difflib.get_close_matches(stem, near, 1, cutoff=0.75)
    alike += [name for name in near if len(stem) > 2 and name.startswith(stem)]
    if alike:
        return f"Did you mean {near[alike[0]]}?"
    return f"There are: {', '.join(_examples(tree))}." if _examples(tree) else ""


def _examples(tree: type[BaseModel] | None) -> list[str]:
    """Names of the recipes that come with Munro and hold such a tree, the quickest first."""
    kind = kind_of(tree) if tree else None
    if tree and not kind:  # rules, suites: none comes with Munro
        return []
    fitting = _fitting(bundled().items(), kind)
    return sorted(fitting, key=lambda name: (name != "quickstart", not name.endswith("_tiny")))


def _fitting(files: Iterable[tuple[str, Path]], kind: Kind | None) -> list[str]:
    return [
        name
        for name, file in files
        if kind is None or kind.fits(tomllib.loads(file.read_text(encoding="utf-8")))
    ]
