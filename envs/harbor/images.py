"""Images from what a person has: a folder, or a Dockerfile without any task around it."""

from __future__ import annotations

from pathlib import Path

from munro.envs.harbor.build import build
from munro.envs.harbor.errors import BadFolder
from munro.envs.harbor.folder import Foreign
from munro.rewards import sandbox
from munro.rewards.sandbox import Image, Sandbox, layer_of


def made_image(source: Path, packages: str, store: Path) -> Image:
    """The image of a folder, or of a Dockerfile in its folder.

    Args:
        packages: a folder for Python to import from; "" for none.

    Raises:
        BadFolder: there is nothing there, or the recipe cannot be carried out here.
        SandboxError: there is no sandbox to be had, which a recipe needs.
    """
    libraries: tuple[sandbox.Layer, ...] = ()
    if packages:
        libraries = (_layer(Path(packages).expanduser(), store),)
    if not source.is_file():
        return Image(layers=(_layer(source, store),), packages=libraries)
    opened: list[Sandbox] = []

    def box() -> Sandbox:
        if not opened:
            opened.append(sandbox.open("namespaces", store=store))
        return opened[0]

    folder = source.resolve().parent
    recipe = Foreign(
        id=source.name, folder=folder, form="harbor", instruction="", context=folder,
        recipe=source.resolve(), tests=(), script="",
    )  # fmt: skip
    try:
        image = build(recipe, store, box).image
    finally:
        for each in opened:
            each.close()
    return Image(layers=image.layers, packages=libraries, is_root=True)


def _layer(folder: Path, store: Path) -> sandbox.Layer:
    try:
        return layer_of(folder, store)
    except (ValueError, OSError) as failure:
        raise BadFolder(f"{folder}: {failure}") from failure
