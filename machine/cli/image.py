"""`munro env image`: names for the images that boxes begin with."""

from __future__ import annotations

import click


@click.command("image")
@click.argument("name")
@click.argument("source")
@click.option("--store", default="", help="Folder of layers; ~/.cache/munro/layers.")
@click.option(
    "--packages", default="", help="Folder of `pip install --target`, for Python to import from."
)
def image(name: str, source: str, store: str, packages: str) -> None:
    """Have NAME stand for the image of SOURCE, for `image = "NAME"`.

    SOURCE is a folder, which is the box's working directory; or a Dockerfile, which is carried out
    as far as it needs no network, and is then the box's root.
    """
    from pathlib import Path

    from munro.envs.harbor.images import made_image
    from munro.rewards.sandbox.image import default_store
    from munro.rewards.sandbox.named import keep_image

    place = Path(store).expanduser() if store else default_store()
    made = made_image(Path(source).expanduser(), packages, place)
    keep_image(name, made, place)
    click.echo(f"{name}: {len(made.layers)} layers in {place}")
