"""What a repository says that its tests need, read from its files and never by running them.

Looked at: pyproject.toml (dependencies, extras, groups, poetry's), setup.cfg, literal lists in
setup.py, tox.ini and requirements files. Requirements that are an address, a folder or an option
are left out: pip is only ever given names.
"""

from __future__ import annotations

import ast
import configparser
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from munro.envs.swe_build.mutate import parsed

FOR_TESTS = re.compile(r"(?i)^(unit[-_]?)?tests?(ing)?$")
FOR_DEVELOPERS = re.compile(r"(?i)^dev(el(op(ment)?)?)?$")
FILES = re.compile(
    r"(?i)^(requirements/)?(requirements[-_.]?)?(?P<what>tests?|testing|dev)?"
    r"([-_.]?requirements)?\.(txt|in)$"
)
USED_BY_TESTS = re.compile(
    r"(?i)^(pytest|hypothesis|mock|freezegun|responses|parameterized|ddt|time-machine|nose|attrs"
    r"|syrupy|testfixtures|faker|pyfakefs|trio|anyio|asyncio)\b"
)
PYTEST = {"pytest", "py", "pluggy", "iniconfig", "atomicwrites"}
"""pytest, and what is there for its sake: a bound on one part breaks the others."""
TOOLS = re.compile(
    r"(?i)^(sphinx|furo|myst|black|ruff|flake8|pyflakes|pycodestyle|pylint|mypy|isort|tox|nox|twine"
    r"|wheel|build|pip|setuptools|bump|coverage|codecov|pytest-cov|pre-commit|virtualenv|uv|hatch"
    r"|poetry|towncrier|mkdocs|codespell|pyright|types-|pytest-(xdist|benchmark|timeout|mypy|ruff"
    r"|black|flake8|checkdocs|enabler|perf|sugar|randomly))"
)
"""What people and their tools need; plugins that a run of ours must not have are among them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What the box of a repository must have."""

    distribution: str
    """Its own name, normalised; "" where it says none."""
    requirements: tuple[str, ...]
    """Of pip, sorted; names with bounds, no addresses."""
    python_path: tuple[str, ...]
    """Folders of the repository that are imported from, beside its root."""


def needs_of(tree: Mapping[str, bytes], given: Sequence[str] = ()) -> Needs:
    """What a tree's own files say; what cannot be read says nothing.

    Args:
        tree: files by path.
        given: requirements in place of those; none to read them from the files.
    """
    pyproject, setup_cfg = _toml(tree.get("pyproject.toml")), _ini(tree.get("setup.cfg"))
    setup_py = _setup_py(tree.get("setup.py", b""))
    name = str(
        _at(pyproject, "project", "name")
        or _at(pyproject, "tool", "poetry", "name")
        or setup_cfg.get("metadata", {}).get("name", "")
        or setup_py.get("name", [""])[0]
    )
    wanted: list[str] = []
    wanted += _of_pyproject(pyproject)
    wanted += _of_setup_cfg(setup_cfg)
    wanted += [line for key, lines in setup_py.items() if key != "name" for line in lines]
    wanted += _of_tox(_ini(tree.get("tox.ini")))
    for path, contents in sorted(tree.items()):
        match = FILES.match(path)
        if match:
            kept = contents.decode(errors="replace").splitlines()
            wanted += _chosen(kept, match["what"] or "")
    return Needs(
        distribution=canonicalize_name(name) if name else "",
        requirements=_plain(given or wanted, canonicalize_name(name) if name else ""),
        python_path=("src",) if any(path.startswith("src/") for path in tree) else (),
    )


def _plain(wanted: Iterable[str], own: str) -> tuple[str, ...]:
    """Requirements by name and bounds; of pytest and its parts the names, for the date decides."""
    found: dict[str, str] = {}
    for line in wanted:
        try:
            one = Requirement(line.split(" #")[0].strip())
        except InvalidRequirement:  # an option, a path, an address
            continue
        name = canonicalize_name(one.name)
        if one.url or name == own or TOOLS.match(name):
            continue
        if one.marker is not None and not one.marker.evaluate({"extra": ""}):
            continue
        extras = f"[{','.join(sorted(one.extras))}]" if one.extras else ""
        bounds = "" if name in PYTEST else str(one.specifier)
        found.setdefault(name, f"{name}{extras}{bounds}")
    found.setdefault("pytest", "pytest")
    return tuple(found[name] for name in sorted(found))


def _chosen(lines: Iterable[str], group: str) -> list[str]:
    """Of a developers' list, what tests use; of others, all."""
    if FOR_DEVELOPERS.match(group):
        return [line for line in lines if USED_BY_TESTS.match(line.strip())]
    return list(lines)


def _of_pyproject(table: Mapping[str, Any]) -> list[str]:
    wanted = _strings(_at(table, "project", "dependencies"))
    extras = {
        **(_at(table, "project", "optional-dependencies") or {}),
        **(_at(table, "dependency-groups") or {}),
    }
    for name, lines in extras.items():
        if FOR_TESTS.match(name) or FOR_DEVELOPERS.match(name):
            wanted += _chosen(_strings(lines), name)
    poetry = _at(table, "tool", "poetry") or {}
    groups = [poetry.get("dependencies"), poetry.get("dev-dependencies")]
    groups += [_at(poetry, "group", name, "dependencies") for name in ("test", "tests", "dev")]
    for number, group in enumerate(groups):
        names = [name for name in group or {} if name != "python"]
        wanted += _chosen(names, "dev" if number else "")
    return wanted


def _of_setup_cfg(tables: Mapping[str, Mapping[str, str]]) -> list[str]:
    options, extras = tables.get("options", {}), tables.get("options.extras_require", {})
    wanted = options.get("install_requires", "").splitlines()
    wanted += options.get("tests_require", "").splitlines()
    for name, lines in extras.items():
        if FOR_TESTS.match(name) or FOR_DEVELOPERS.match(name):
            wanted += _chosen(lines.splitlines(), name)
    return wanted


def _of_tox(tables: Mapping[str, Mapping[str, str]]) -> list[str]:
    lines = tables.get("testenv", {}).get("deps", "").splitlines()
    return [re.sub(r"^[\w!,{}-]+:\s*", "", line.strip()) for line in lines]


def _setup_py(source: bytes) -> dict[str, list[str]]:
    """Literal arguments of `setup()`: name and lists of requirements."""
    tree = parsed(source)
    found: dict[str, list[str]] = {}
    for node in ast.walk(tree) if tree else ():
        if not isinstance(node, ast.keyword):
            continue
        if node.arg == "name":
            found["name"] = list(_literals(node.value))[:1]
        elif node.arg in ("install_requires", "tests_require"):
            found[node.arg] = list(_literals(node.value))
        elif node.arg == "extras_require" and isinstance(node.value, ast.Dict):
            for key, value in zip(node.value.keys, node.value.values, strict=True):
                name = str(key.value) if isinstance(key, ast.Constant) else ""
                if FOR_TESTS.match(name) or FOR_DEVELOPERS.match(name):
                    found[f"extra {name}"] = _chosen(_literals(value), name)
    return {key: lines for key, lines in found.items() if lines}


def _literals(node: ast.AST) -> Iterator[str]:
    for part in ast.walk(node):
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            yield part.value


def _toml(contents: bytes | None) -> Mapping[str, Any]:
    try:
        return tomllib.loads((contents or b"").decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError):
        return {}


def _ini(contents: bytes | None) -> Mapping[str, Mapping[str, str]]:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string((contents or b"").decode(errors="replace"))
    except configparser.Error:
        return {}
    return {name: dict(parser[name]) for name in parser.sections()}


def _at(table: object, *keys: str) -> Any:
    for key in keys:
        table = table.get(key) if isinstance(table, Mapping) else None
    return table


def _strings(value: object) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []
