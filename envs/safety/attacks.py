"""Attack templates: texts that a request is put into so that it is not refused.

    "pyrit"                         an installed package that ships them (PyRIT, MIT)
    "pyrit-1.1.0-py3-none-any.whl"  the same, not installed: `pip download --no-deps pyrit`
    "data/attacks"                  a folder of your own

A template is a YAML file with a `value` in which `{{ prompt }}` stands for the request, outside of
`{% raw %}`. The files are read as data: nothing of a package is imported, and no template is run.
None ships with Munro.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Any

PLACE = re.compile(r"\{\{\s*prompt\s*\}\}")
OTHER_PLACES = re.compile(r"\{\{|\{%")
RAW = re.compile(r"\{%-?\s*raw\s*-?%\}(.*?)\{%-?\s*endraw\s*-?%\}", re.DOTALL)
MOST_BYTES = 1 << 20
INSIDE = "/jailbreak/templates/"
"""Part of the path of a package's templates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """One template.

    Example:
        Attack(name="polite", pieces=("Please, ", ".")).around("say it")   # "Please, say it."
    """

    name: str
    pieces: tuple[str, ...]
    """What stands before, between and after the places of the request."""

    def around(self, request: str) -> str:
        """The request inside the template."""
        return request.join(self.pieces)


def load(source: str, *, most_chars: int) -> list[Attack]:
    """The templates of a package, a wheel or a folder, by name.

    Args:
        source: see above.
        most_chars: longer ones are left out.

    Raises:
        ValueError: there is no such source, or no usable template in it; says why.
    """
    found: dict[str, Attack] = {}
    unfit, long = [], []
    for name, text in _files(source):
        value = _value(text)
        pieces = _pieces(value)
        if len(pieces) < 2:
            unfit.append(f"{name}: it has no {{{{ prompt }}}}, or other places beside it")
        elif len(value) > most_chars:
            long.append(f"{name}: {len(value)} characters")
        else:
            found[name] = Attack(name=name, pieces=pieces)
    if not found:
        left_out = long + unfit
        why = f" ({len(left_out)} files were left out, as {left_out[0]})" if left_out else ""
        raise ValueError(f"attacks = {source!r} holds no usable template{why}.")
    return [found[name] for name in sorted(found)]


def _files(source: str) -> Iterator[tuple[str, bytes]]:
    """Name and content of each YAML file."""
    path = Path(source).expanduser()
    if path.is_dir():
        for file in sorted(path.rglob("*.yaml")):
            if file.stat().st_size <= MOST_BYTES:
                yield file.relative_to(path).with_suffix("").as_posix(), file.read_bytes()
    elif path.suffix == ".whl" and path.is_file():
        yield from _in_wheel(path)
    else:
        yield from _in_package(source)


def _in_wheel(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with zipfile.ZipFile(path) as wheel:
            for one in wheel.infolist():
                if (name := _template(one.filename)) and one.file_size <= MOST_BYTES:
                    yield name, wheel.read(one)
    except zipfile.BadZipFile as error:
        raise ValueError(f"attacks = {str(path)!r} is no wheel: {error}") from None


def _in_package(source: str) -> Iterator[tuple[str, bytes]]:
    try:
        files = metadata.distribution(source).files or ()
    except (metadata.PackageNotFoundError, ValueError):
        raise ValueError(
            f"attacks = {source!r} is no folder, no wheel, and no installed package. PyRIT has "
            f"such templates: `pip install --no-deps pyrit` (its code is not needed)."
        ) from None
    for file in files:
        place = Path(str(file.locate()))
        if (name := _template(file.as_posix())) and place.stat().st_size <= MOST_BYTES:
            yield name, place.read_bytes()


def _template(path: str) -> str:
    """Name of a package's template; empty for another file."""
    if INSIDE not in path or not path.endswith(".yaml"):
        return ""
    return PurePosixPath(path.partition(INSIDE)[2]).with_suffix("").as_posix()


def _value(text: bytes) -> str:
    """The template in a file; empty where there is none."""
    import yaml  # type: ignore[import-untyped]

    try:
        read: Any = yaml.safe_load(text.decode(errors="replace"))
    except (yaml.YAMLError, RecursionError):
        return ""
    value = read.get("value") if isinstance(read, dict) else None
    return value if isinstance(value, str) else ""


def _pieces(value: str) -> tuple[str, ...]:
    """What stands around the places of the request; () where there are other places too."""
    pieces = [""]
    for number, stretch in enumerate(RAW.split(value)):
        if number % 2:  # what is raw means itself
            pieces[-1] += stretch
            continue
        first, *others = PLACE.split(stretch)
        pieces[-1] += first
        pieces += others
        if any(OTHER_PLACES.search(each) for each in (first, *others)):
            return ()
    return tuple(pieces)


def sides(attacks: Sequence[Attack], held_out: Sequence[bool]) -> tuple[list[Attack], list[Attack]]:
    """Those to train under and those held out; each side has some, if there are two at all."""
    train = [one for one, out in zip(attacks, held_out, strict=True) if not out]
    test = [one for one, out in zip(attacks, held_out, strict=True) if out]
    if len(attacks) > 1 and not (train and test):
        return list(attacks[1:]), list(attacks[:1])
    return train or list(attacks), test or list(attacks)
