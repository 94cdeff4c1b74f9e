"""`munro init`: a folder to begin with."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

from munro.machine.loading import BadConfig
from munro.machine.run.files import explained

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
FILES = {"recipe.toml": "recipe.toml", "env.py": "env.py.txt", "README.md": "README.md"}
"""What is written, and from which file of the template."""


def write_folder(where: str) -> str:
    """Write a recipe, an environment and a README; what to type next, as lines for a person.

    Raises:
        BadConfig: the name will not do for a run, or something lies there already.
        RunError: the disk refused.
    """
    folder = Path(where).expanduser()
    name = folder.absolute().name
    if not NAME.fullmatch(name):
        raise BadConfig(f"{where}: a run is named after its folder, in letters, digits, . _ and -")
    if folder.exists() and not folder.is_dir():
        raise BadConfig(f"{where} is a file: name a folder that is to be made")
    if folder.is_dir() and (held := sorted(path.name for path in folder.iterdir())):
        more = ", ..." if len(held) > 3 else ""
        raise BadConfig(
            f"{where} is not empty ({', '.join(held[:3])}{more}): name another folder, for nothing "
            "is written over"
        )
    template = files("munro.machine") / "template"
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for file, source in FILES.items():
            text = (template / source).read_text(encoding="utf-8")
            # the environment's braces are Python's
            text = text if file.endswith(".py") else text.replace("{name}", name)
            (folder / file).write_text(text, encoding="utf-8")
    return "\n".join(
        [
            f"wrote {', '.join(str(folder / file) for file in FILES)}; now:",
            f"  cd {folder}",
            "  munro env check ./env.py:Sums",
            "  munro climb recipe.toml",
            f"  munro report runs/{name}",
        ]
    )
