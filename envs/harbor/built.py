"""What a recipe came to: an image, and how a program is started in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from munro.rewards.sandbox import Image

ENTER = ("sh", "-c", 'cd -- "$0" && exec "$@"')
"""Goes to the folder that is its first argument, and is then the program that follows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What a box begins with.

    Example:
        Built(image=Image(layers=layers, is_root=True), workdir="/app", env={"HOME": "/root"})
    """

    image: Image
    workdir: str = "/"
    env: Mapping[str, str] = field(default_factory=dict)

    def command(self, *words: str, more: Mapping[str, str] | None = None) -> list[str]:
        """`words` in the working directory, with the image's variables and some more."""
        pairs = [f"{name}={value}" for name, value in {**self.env, **(more or {})}.items()]
        return [*ENTER, self.workdir, "env", *pairs, *words]
