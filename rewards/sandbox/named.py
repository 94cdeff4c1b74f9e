"""Images under names that people give them, in the store of their layers.

    keep_image("tools", Image(layers=(base,)), store)
    box.session(image="tools")

    store/.images/tools.json     digests of the layers; the layers are the store's like any others

Names are what recipes and environments say (`image = "tools"`): a name may come to stand for
another image, a layer never changes.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from munro.rewards.sandbox.image import Image, find_layer, make_store

NAMES = ".images"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def keep_image(name: str, image: Image, store: Path) -> None:
    """Have `name` stand for an image from now on.

    Raises:
        ValueError: that is no name.
        SandboxError: a layer is not in the store.
    """
    _check(name)
    for layer in (*image.layers, *image.packages):
        find_layer(layer.digest, store)
    place = make_store(store) / NAMES / f"{name}.json"
    place.parent.mkdir(exist_ok=True)
    said = {
        "layers": [layer.digest for layer in image.layers],
        "packages": [layer.digest for layer in image.packages],
        "shows_host_packages": image.shows_host_packages,
        "is_root": image.is_root,
    }
    fresh = place.with_suffix(".new")
    fresh.write_text(json.dumps(said, indent=1) + "\n")
    fresh.rename(place)


def named_image(name: str, store: Path) -> Image:
    """The image of that name.

    Raises:
        ValueError: there is none.
        SandboxError: a layer of it is gone.
    """
    _check(name)
    place = store / NAMES / f"{name}.json"
    try:
        said = json.loads(place.read_text())
    except FileNotFoundError:
        known = ", ".join(sorted(path.stem for path in (store / NAMES).glob("*.json"))) or "none"
        raise ValueError(
            f"there is no image {name!r} in {store}, there is {known}: "
            f"munro env image {name} FOLDER"
        ) from None
    return Image(
        layers=tuple(find_layer(digest, store) for digest in said["layers"]),
        packages=tuple(find_layer(digest, store) for digest in said["packages"]),
        shows_host_packages=bool(said["shows_host_packages"]),
        is_root=bool(said["is_root"]),
    )


def resolved(image: Image | str | None, store: Path | None) -> Image | None:
    """The image itself, where it was named.

    Raises:
        ValueError: there is none of that name, or no store to look in.
        SandboxError: a layer of it is gone.
    """
    if not isinstance(image, str):
        return image
    if store is None:
        raise ValueError(f'image {image!r} is a name: open the sandbox with store="A FOLDER"')
    return named_image(image, store)


def _check(name: str) -> None:
    if not NAME.fullmatch(name):
        raise ValueError(f"{name!r:.80} is no name of an image: letters, digits and ._- are")
