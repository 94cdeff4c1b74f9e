"""From the name a person writes to an environment that runs.

    arithmetic                 a built-in (envs/<name>.py holds a class with that `name`), or an
                               entry point of the group `munro.envs` of an installed package
    package.module:Class       anything importable
    path/to/file.py:Class      a file of the user's; `:Class` may be left out if there is only one

Whatever goes wrong is one sentence. Nothing is imported but what is asked for.
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
from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from munro.envs.base import Environment
from munro.envs.combined import Combined
from munro.envs.config import EnvConfig
from munro.rewards.combine.tree import OWN, GraderConfig, names

HERE = Path(__file__).parent
GROUP = "munro.envs"


class BadEnvironment(ValueError):
    """An environment that cannot be used; the message is one sentence that says why."""


class EnvironmentNotFound(BadEnvironment):
    """No environment of that name, no such file, no such class."""


def load(path: str, /, **args: Any) -> Environment:
    """The environment that `path` names, made with `args`.

    Raises:
        EnvironmentNotFound: there is none of that name.
        BadEnvironment: it is there, but cannot be imported or made.
    """
    found = find(path)
    _refuse_unknown(found, path, args)
    try:
        return found(**args)
    except BadEnvironment:
        raise
    except ValueError as error:
        raise BadEnvironment(f"{path}: {error}") from error
    except Exception as error:
        raise BadEnvironment(f"{path} cannot be made: {blame(error)}") from error


def load_config(config: EnvConfig) -> Environment:
    """The environment of a config, with its graders and its reward. Raises as `load` does."""
    environment = load(config.path, **config.args)
    if config.reward is None:
        if environment.needs_graders:
            raise BadEnvironment(
                f"{config.path} grades nothing by itself: name graders in [env.graders], and in "
                "env.reward what is paid."
            )
        return environment
    if environment.needs_graders and OWN in names(config.reward):
        raise BadEnvironment(f"{config.path} has no grade of its own: leave {OWN!r} out of reward.")
    try:
        return Combined(environment, config.graders, config.reward)
    except ValueError as error:
        raise BadEnvironment(f"env.{error}") from error


def find(path: str) -> type[Environment]:
    """The class that `path` names. Raises as `load` does."""
    place, _, class_name = path.partition(":")
    if place.endswith(".py"):
        file = Path(place).expanduser().resolve()
        if not file.is_file():
            raise EnvironmentNotFound(f"There is no file {file} (environment {path!r}).")
        return _pick(_import_file(file), class_name, path)
    if class_name:
        return _pick(_import_module(place, path), class_name, path)
    return _registered(place)


def resolve(path: str) -> str:
    """The same environment by a name that holds in any working directory."""
    place, colon, class_name = path.partition(":")
    if not place.endswith(".py"):
        return path
    return f"{Path(place).expanduser().resolve()}{colon}{class_name}"


def resolve_config(config: EnvConfig) -> EnvConfig:
    """The same environment, its file and its arguments that name files made absolute.

    Raises as `load` does.
    """
    args = dict(config.args)
    for name in find(config.path).file_args:
        value = args.get(name)
        if isinstance(value, str) and Path(value).expanduser().exists():
            args[name] = str(Path(value).expanduser().resolve())
    graders = {name: _resolved(grader) for name, grader in config.graders.items()}
    made = {"path": resolve(config.path), "args": args, "graders": graders}
    return config.model_copy(update=made)


def _resolved(grader: GraderConfig) -> GraderConfig:
    path = grader.args.get("path")
    if not (isinstance(path, str) and Path(path).expanduser().exists()):
        return grader
    args = grader.args | {"path": str(Path(path).expanduser().resolve())}
    return grader.model_copy(update={"args": args})


def available() -> list[tuple[str, str]]:
    """Names and one-line descriptions of all that is registered, sorted by name."""
    found = {name: describe for name, (_, _, describe) in _built_in().items()}
    for name, entry in _installed().items():
        found.setdefault(name, f"installed: {entry.value}")
    return sorted(found.items())


def blame(error: BaseException) -> str:
    """Where and what, in one line: "NameError: name 'x' is not defined (mine.py:12)"."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<frozen") and Path(frame.filename).parent != HERE
    ]
    text = " ".join(str(error).split())
    if isinstance(error, SyntaxError) and error.filename:
        return f"{type(error).__name__}: {error.msg} ({Path(error.filename).name}:{error.lineno})"
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {text}{place}" if text else f"{type(error).__name__}{place}"


def nearest(name: str, names: Iterable[str]) -> str:
    """A sentence that offers the nearest valid name, or lists them all."""
    names = sorted(names)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if close:
        return f"Did you mean {' or '.join(repr(each) for each in close)}?"
    return f"There are: {', '.join(names)}." if names else "There are none."


def _registered(name: str) -> type[Environment]:
    built_in, installed = _built_in(), _installed()
    plain = name.replace("-", "_")
    if plain in built_in:
        module_name, class_name, _ = built_in[plain]
        return _pick(_import_module(module_name, name), class_name, name)
    if name in installed:
        entry = installed[name]
        module = _import_module(entry.module, name)
        return _pick(module, entry.attr, f"{name} ({entry.value})")
    hint = nearest(name, [*built_in, *installed])
    file = Path(f"{name}.py")
    if file.is_file():
        hint = f"For the file of that name write './{file}'."
    raise EnvironmentNotFound(f"There is no environment {name!r}. {hint}")


def _built_in() -> dict[str, tuple[str, str, str]]:
    """Name to (module, class, description), read from the source without importing it."""
    found = {}
    for file in sorted([*HERE.glob("*.py"), *HERE.glob("*/__init__.py")]):
        name = file.parent.name if file.name == "__init__.py" else file.stem
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.ClassDef) and _declared_name(node) == name:
                summary = (ast.get_docstring(node) or "").split("\n")[0]
                found[name] = (f"{__package__}.{name}", node.name, summary)
    return found


def _declared_name(node: ast.ClassDef) -> str | None:
    for statement in node.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id="name")], value=ast.Constant(value=str(name))):
                return name
            case ast.AnnAssign(target=ast.Name(id="name"), value=ast.Constant(value=str(name))):
                return name
    return None


def _installed() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def _import_file(file: Path) -> ModuleType:
    """Run a user's file as a module whose name follows from its path.

    The name is the same in every process, so that records of the file's own classes can be
    pickled between processes that have both loaded it. Its folder joins the end of the path, for
    helpers beside it.
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
        raise BadEnvironment(f"{file} cannot be imported: {blame(error)}") from error
    return module


def _import_module(name: str, path: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise BadEnvironment(f"{path} cannot be imported: {blame(error)}") from error
        file = Path(*name.split(".")).with_suffix(".py")
        way_out = f" For the file write './{file}:...'." if file.is_file() else ""
        raise EnvironmentNotFound(
            f"There is no module {name!r} (environment {path!r}).{way_out}"
        ) from error
    except (Exception, SystemExit) as error:
        raise BadEnvironment(f"{path} cannot be imported: {blame(error)}") from error


def _pick(module: ModuleType, class_name: str, path: str) -> type[Environment]:
    """The named class of a module, or its only environment."""
    classes = {
        name: value
        for name, value in vars(module).items()
        if inspect.isclass(value)
        and issubclass(value, Environment)
        and not inspect.isabstract(value)
        and value.__module__ == module.__name__
    }
    if not class_name:
        if len(classes) == 1:
            return next(iter(classes.values()))
        hint = f"one of {', '.join(classes)}" if classes else "but it holds no environment"
        raise EnvironmentNotFound(f"{path} does not say which class: write {path}:CLASS, {hint}.")
    value = getattr(module, class_name, None)
    if value is None:
        raise EnvironmentNotFound(
            f"{path}: no class {class_name!r}. {nearest(class_name, classes)}"
        )
    if not (inspect.isclass(value) and issubclass(value, Environment)):
        raise BadEnvironment(f"{path}: {class_name} is not an Environment; derive it from one.")
    if missing := sorted(getattr(value, "__abstractmethods__", ())):
        raise BadEnvironment(f"{path}: {class_name} lacks {', '.join(missing)}.")
    return value


def _refuse_unknown(found: type[Environment], path: str, args: Mapping[str, Any]) -> None:
    """Say which argument is wrong, before the constructor says it less clearly."""
    signature = inspect.signature(found)
    known = [
        name
        for name, parameter in signature.parameters.items()
        if parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    takes_any = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    for name in args:
        if name not in known and not takes_any:
            hint = nearest(name, known) if known else "It takes none."
            raise BadEnvironment(f"{path} takes no argument {name!r}. {hint}")
    for name in known:
        if name not in args and signature.parameters[name].default is inspect.Parameter.empty:
            raise BadEnvironment(f"{path} needs the argument {name!r}: give it in args.")
