"""From the name a person writes to an environment that runs.

    arithmetic                 a built-in (envs/<name>.py holds a class with that `name`), or an
                               entry point of the group `munro.envs` of an installed package
    package.module:Class       anything importable
    path/to/file.py:Class      a file of the user's; `:Class` may be left out if there is only one

Whatever goes wrong is one sentence. Nothing is imported but what is asked for.
"""

from __future__ import annotations

import ast
import copy
import inspect
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from munro.envs.base import QUITS, Environment
from munro.envs.budget import Budget
from munro.envs.combined import Combined
from munro.envs.config import EnvConfig
from munro.envs.remote.isolated import Isolated
from munro.rewards import kinds
from munro.rewards.combine.parts import OWN, GraderConfig, WatchConfig
from munro.rewards.combine.tree import names, owner
from munro.rewards.plugins import BadPlugin, PluginNotFound, Registry, blame, nearest, resolve

HERE = Path(__file__).parent


class BadEnvironment(ValueError):
    """An environment that cannot be used; the message is one sentence that says why."""

    is_sentence = True


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
    except (Exception, *QUITS) as error:
        raise BadEnvironment(f"{path} cannot be made: {blame(error)}") from error


def load_config(config: EnvConfig) -> Environment:
    """The environment of a config, with its graders and its reward. Raises as `load` does."""
    environment = _made_as(config)
    if not isinstance(environment.budget, Budget):
        raise BadEnvironment(
            f"{config.path}: budget is {environment.budget!r:.60}, and must be an "
            "munro.envs.Budget: Budget(turns=200), say."
        )
    environment.budget = config.budget.over(environment.budget)
    if config.reward is None:
        if environment.needs_graders:
            raise BadEnvironment(
                f"{config.path} grades nothing by itself: name graders in [env.graders], and in "
                "env.reward what is paid."
            )
        return environment
    if environment.needs_graders and OWN in map(owner, names(config.reward)):
        raise BadEnvironment(f"{config.path} has no grade of its own: leave {OWN!r} out of reward.")
    try:
        return Combined(environment, config.graders, config.reward)
    except ValueError as error:
        raise BadEnvironment(f"env.{error}") from error


def _made_as(config: EnvConfig) -> Environment:
    """The environment itself: here, or in a process of its own."""
    if not config.isolate:
        return load(config.path, **config.args)
    try:
        return Isolated(config.path, config.args, python=config.python, memory_mb=config.memory_mb)
    except ValueError as error:
        raise BadEnvironment(str(error)) from error


def find(path: str) -> type[Environment]:
    """The class that `path` names. Raises as `load` does."""
    try:
        found: type[Environment] = ENVIRONMENTS.find(path)
    except PluginNotFound as error:
        raise EnvironmentNotFound(str(error)) from error
    except BadPlugin as error:
        raise BadEnvironment(str(error)) from error
    if missing := sorted(getattr(found, "__abstractmethods__", ())):
        raise BadEnvironment(f"{path}: {found.__name__} lacks {', '.join(missing)}.")
    return found


def resolve_config(config: EnvConfig) -> EnvConfig:
    """The same environment, its file and its arguments that name files made absolute.

    Raises as `load` does.
    """
    args = dict(config.args)
    for name in _files(config):
        value = args.get(name)
        if isinstance(value, str) and Path(value).expanduser().exists():
            # links are kept: a venv's interpreter is one, and is another without it
            args[name] = str(Path(value).expanduser().absolute())
    graders = {name: _resolved(name, grader) for name, grader in config.graders.items()}
    made = {"path": resolve(config.path), "args": args, "graders": graders}
    return config.model_copy(update=made)


def _files(config: EnvConfig) -> Iterable[str]:
    """Arguments of an environment that name files. Where it is isolated only it may say so."""
    if not config.isolate:
        return find(config.path).files(config.args)
    isolated = _made_as(config)
    assert isinstance(isolated, Isolated)
    return isolated.files_of_args()


def _resolved(name: str, grader: GraderConfig) -> GraderConfig:
    made = grader.model_copy(update=_absolute(name, grader))
    if grader.watch is None:
        return made
    watch = grader.watch.model_copy(update=_absolute(f"{name}.watch", grader.watch))
    return made.model_copy(update={"watch": watch})


def _absolute(name: str, grader: GraderConfig | WatchConfig) -> dict[str, Any]:
    """A grader's kind and arguments, with files by names that hold in any working directory."""
    try:
        files = kinds.find(grader.kind).kind.file_args
    except BadPlugin as error:
        raise BadEnvironment(f"env.graders.{name}: {error}") from error
    args = copy.deepcopy(grader.args)
    for *tables, key in (argument.split(".") for argument in files):
        node: Any = args
        for table in tables:
            node = node.get(table) if isinstance(node, dict) else None
        value = node.get(key) if isinstance(node, dict) else None
        if not isinstance(value, str) or not value:
            continue
        if ".py:" in value:  # a function in a file
            node[key] = resolve(value)
        elif Path(value).expanduser().exists():
            node[key] = str(Path(value).expanduser().resolve())
    return {"args": args, "kind": resolve(grader.kind)}


def available() -> list[tuple[str, str]]:
    """Names and one-line descriptions of all that is registered, sorted by name."""
    return ENVIRONMENTS.described()


def _is_environment(value: object) -> bool:
    """A class that could be made, or that lacks something and is named all the same."""
    return inspect.isclass(value) and issubclass(value, Environment)


class _Environments(Registry):
    """Environments share their room with what they are made of: a file is one where a class in it
    has the file's name as its `name`."""

    def _ours(self) -> dict[str, Path]:
        files = {
            file.parent.name if file.name == "__init__.py" else file.stem: file
            for file in [*HERE.glob("*.py"), *HERE.glob("*/__init__.py")]
        }
        return {name: file for name, file in files.items() if _class_in(file, name)}

    def _in(self, name: str) -> str:
        return _class_in(self._ours()[name], name)[0].name

    def described(self) -> list[tuple[str, str]]:
        """As of any plug-in; the line is the class's own."""
        lines = dict(Registry.described(self))
        for name, file in self._ours().items():
            lines[name] = (ast.get_docstring(_class_in(file, name)[0]) or "").split("\n")[0]
        return sorted(lines.items())


def _class_in(file: Path, name: str) -> list[ast.ClassDef]:
    """The class of that declared name, read from the source without importing it."""
    return [
        node
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.ClassDef) and _declared_name(node) == name
    ]


def _declared_name(node: ast.ClassDef) -> str | None:
    for statement in node.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id="name")], value=ast.Constant(value=str(name))):
                return name
            case ast.AnnAssign(target=ast.Name(id="name"), value=ast.Constant(value=str(name))):
                return name
    return None


ENVIRONMENTS = _Environments(
    what="environment", group="munro.envs", home=__package__ or "", fits=_is_environment
)


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
            raise BadEnvironment(
                f"{path} needs the argument {name!r}: give --{name} to `munro env check`, "
                f"--env.args.{name} to climb and eval, or args = {{ {name} = ... }} in the TOML."
            )
