"""From the name a person writes to what it names: one way for everything that can be plugged in.

    name                  ours (`home/name.py`), or an entry point of the group, of any package
    package.module:thing  anything importable
    path/to/file.py:thing a file of the user's; `:thing` may be left out where only one fits

Nothing is imported but what is asked for. Whatever goes wrong is one sentence.
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

ROOMS = (
    *("rl", "rollout", "rewards", "envs", "distill", "evaluation", "questions"),
    *("kernels", "base_model", "machine"),
)
"""Import names of our own before there was one, or that look as if they were: a user's file may
say them."""


class BadPlugin(ValueError):
    """Something that cannot be used; the message is one sentence that says why."""

    is_sentence = True


class PluginNotFound(BadPlugin):
    """Nothing of that name, no such file, nothing in it that would do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """One kind of thing that can be plugged in.

    Example:
        LOSSES = Registry(
            what="loss", group="munro.losses", home="munro.rl.losses", fits=inspect.isfunction
        )
        LOSSES.find("./mine.py:my_loss")
    """

    what: str
    """In a sentence: "environment"."""
    group: str
    """Of entry points, in the pyproject.toml of any package."""
    home: str
    """Package of ours; each public module in it is one of these, named after its file."""
    fits: Callable[[Any], bool]
    """Whether a value is one of these."""

    def find(self, path: str) -> Any:
        """What `path` names.

        Raises:
            PluginNotFound: there is nothing of that name.
            BadPlugin: it is there, but cannot be imported or is something else.
        """
        place, _, attribute = path.partition(":")
        if place.endswith(".py"):
            file = Path(place).expanduser().resolve()
            if not file.is_file():
                raise PluginNotFound(f"There is no file {file} ({self.what} {path!r}).")
            return self._pick(import_file(file), attribute, path)
        if attribute:
            return self._pick(import_module(place, f"{self.what} {path!r}"), attribute, path)
        plain = place.replace("-", "_")
        if plain in self._ours():
            return self._pick(import_module(f"{self.home}.{plain}", path), self._in(plain), path)
        if (entry := installed(self.group).get(place)) is not None:
            module = import_module(entry.module, path)
            return self._pick(module, entry.attr, f"{path} ({entry.value})")
        hint = nearest(place, self.names())
        if Path(f"{place}.py").is_file():
            hint = f"For the file of that name write './{place}.py'."
        raise PluginNotFound(f"There is no {self.what} {place!r}. {hint}")

    def names(self) -> list[str]:
        """All that have a name: ours, and those of installed packages."""
        return sorted({*self._ours(), *installed(self.group)})

    def described(self) -> list[tuple[str, str]]:
        """Names, each with one line about it; ours are read without being imported."""
        lines = {name: f"installed: {e.value}" for name, e in installed(self.group).items()}
        for name, file in self._ours().items():
            lines[name] = (ast.get_docstring(ast.parse(file.read_text())) or "").split("\n")[0]
        return sorted(lines.items())

    def _in(self, name: str) -> str:  # noqa: ARG002 - the environments say more
        """The attribute of our module of that name; empty for the only one that fits."""
        return ""

    def _ours(self) -> dict[str, Path]:
        spec = importlib.util.find_spec(self.home)
        folders = (spec.submodule_search_locations if spec else None) or ()
        files = [file for folder in folders for file in Path(folder).glob("*.py")]
        return {file.stem: file for file in files if not file.stem.startswith("_")}

    def _pick(self, module: ModuleType, attribute: str, path: str) -> Any:
        """The named thing of a module, or the only one that is defined in it."""
        found = {
            name: value
            for name, value in vars(module).items()
            if self.fits(value)
            and not name.startswith("_")
            and not inspect.isabstract(value)
            and getattr(value, "__module__", module.__name__) == module.__name__
        }
        if attribute:
            value = getattr(module, attribute, None)
            if value is None:
                hint = nearest(attribute, found)
                raise PluginNotFound(f"{path}: there is no {attribute!r}. {hint}")
            if not self.fits(value):
                raise BadPlugin(f"{path}: {attribute} is no {self.what}.")
            return value
        if len(found) == 1:
            return next(iter(found.values()))
        hint = f"one of {', '.join(found)}" if found else f"but it holds no {self.what}"
        raise PluginNotFound(f"{path} does not say which: write {path}:NAME, {hint}.")


def installed(group: str) -> dict[str, EntryPoint]:
    """Entry points of a group, by name."""
    return {entry.name: entry for entry in entry_points(group=group)}


def resolve(path: str) -> str:
    """The same thing by a name that holds in any working directory."""
    place, colon, attribute = path.partition(":")
    if not place.endswith(".py"):
        return path
    return f"{Path(place).expanduser().resolve()}{colon}{attribute}"


def import_file(file: Path) -> ModuleType:
    """Run a user's file as a module whose name follows from its path.

    The name is the same in every process, so that records of the file's own classes can be
    pickled between processes that have both loaded it. Its folder joins the end of the path, for
    helpers beside it.

    Raises:
        BadPlugin: it cannot be imported.
    """
    name = f"munro_env_{file.stem}_{hashlib.sha1(str(file).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    if str(file.parent) not in sys.path:
        sys.path.append(str(file.parent))
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise BadPlugin(f"{file} cannot be imported: {blame(error)}") from error
    return module


def import_module(name: str, path: str) -> ModuleType:
    """A module by its dotted name.

    Args:
        name: of the module.
        path: what the person wrote, for the sentence.

    Raises:
        PluginNotFound: there is none.
        BadPlugin: it cannot be imported.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise BadPlugin(f"{path} cannot be imported: {blame(error)}") from error
        file = Path(*name.split(".")).with_suffix(".py")
        way_out = f" For the file write './{file}:...'." if file.is_file() else ""
        raise PluginNotFound(f"There is no module {name!r} ({path}).{way_out}") from error
    except (Exception, SystemExit) as error:
        raise BadPlugin(f"{path} cannot be imported: {blame(error)}") from error


def blame(error: BaseException) -> str:
    """Where and what, in one line: "NameError: name 'x' is not defined (mine.py:12)"."""
    ours = Path(__file__).parents[1]
    passed = {Path(__file__), ours / "envs" / "loader.py"}
    passed |= {ours / room / "__init__.py" for room in ROOMS}  # which refuse their bare names
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<frozen") and Path(frame.filename) not in passed
    ]
    text = " ".join(str(error).split())
    if isinstance(error, SyntaxError) and error.filename:
        return f"{type(error).__name__}: {error.msg} ({Path(error.filename).name}:{error.lineno})"
    if isinstance(error, ImportError) and (room := (error.name or "").split(".")[0]) in ROOMS:
        hint = f"Munro's {room!r} is imported as munro.{room}"
        text = text if hint in text else f"{text}; {hint}"
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {text}{place}" if text else f"{type(error).__name__}{place}"


def nearest(name: str, names: Iterable[str]) -> str:
    """A sentence that offers the nearest valid name, or lists them all."""
    names = sorted(names)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if close:
        return f"Did you mean {' or '.join(repr(each) for each in close)}?"
    return f"There are: {', '.join(names)}." if names else "There are none."
