"""The import graph is the pipeline, read backwards; heavy libraries stay behind their door.

A room's wings are its folders; wherever two places stand side by side, arrows between them go one
way.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

MAY_IMPORT: dict[str, set[str]] = {
    "rewards": set(),
    "kernels": set(),
    "envs": {"rewards"},
    "rollout": {"envs", "rewards"},
    "base_model": {"kernels"},
    "rl": {"envs", "rewards", "rollout", "base_model", "kernels"},
    "distill": {"envs", "rewards", "rollout", "base_model", "kernels"},
    "evaluation": {"envs", "rewards", "rollout", "base_model", "kernels"},
    "questions": {"envs", "rewards", "rollout", "base_model", "kernels"},
    "machine": {
        "envs",
        "rewards",
        "rollout",
        "base_model",
        "kernels",
        "rl",
        "distill",
        "evaluation",
        "questions",
    },
}
ALSO = {
    "rollout/vllm/model.py": {"base_model", "kernels"},  # our architecture, as vLLM serves it
    "rollout/transformers_engine.py": {"base_model", "kernels"},  # to load; to settle torch
    "rollout/vllm/launch.py": {"base_model"},  # to look at the weights before vLLM does
    "rollout/vllm/worker.py": {"kernels"},
}
ONLY_IN = {
    "vllm": ("rollout/vllm/",),
    "triton": ("/fused.py",),
    "ray": ("/cluster.py", "rollout/cluster/", "machine/climb/cluster/"),
}
WHERE_A_MODEL_SCORES = {"rewards/preference/scorers.py"}  # torch inside functions only
WITHOUT_TORCH = ("envs/", "rewards/", "/types.py", "/config.py")
TORCH = {"torch", "transformers", "accelerate", "vllm", "triton"}

FILES = [
    path.relative_to(ROOT)
    for package in MAY_IMPORT
    for path in sorted((ROOT / package).rglob("*.py"))
]


def imports(path: Path) -> set[str]:
    """Top-level names imported anywhere in the file, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            found |= {_room(alias.name) for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = (
                [f"munro.{a.name}" for a in node.names] if node.module == "munro" else [node.module]
            )
            found |= {_room(name) for name in names}
    return found


def _room(name: str) -> str:
    """`munro.envs.types` is of the room "envs"; of anything else, the first part."""
    parts = name.split(".")
    return parts[1] if parts[0] == "munro" and len(parts) > 1 else parts[0]


@pytest.mark.parametrize("path", FILES, ids=str)
def test_imports_point_one_way(path: Path) -> None:
    package = path.parts[0]
    ours = imports(path) & (MAY_IMPORT.keys() | {"tests", "benchmarks"})
    assert ours <= MAY_IMPORT[package] | {package} | ALSO.get(path.as_posix(), set())


@pytest.mark.parametrize("path", FILES, ids=str)
def test_heavy_libraries_stay_behind_their_door(path: Path) -> None:
    for name in imports(path) & ONLY_IN.keys():
        assert any(door in path.as_posix() for door in ONLY_IN[name]), name


@pytest.mark.parametrize("path", FILES, ids=str)
def test_what_must_load_in_a_blink_never_names_torch(path: Path) -> None:
    held = any(part in path.as_posix() for part in WITHOUT_TORCH)
    if held and path.as_posix() not in WHERE_A_MODEL_SCORES:
        assert imports(path) & TORCH == set()


def arrows(path: Path) -> set[str]:
    """Modules of ours that a file imports anywhere, by their dotted names."""
    found: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found & MODULES.keys()


def module(path: Path) -> str:
    return ".".join(("munro", *path.with_suffix("").parts)).removesuffix(".__init__")


MODULES = {module(path): path for path in FILES}


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    """Places of a graph that reach each other; none where it has no circle."""
    rest = dict(graph)
    while free := [place for place, others in rest.items() if not others & rest.keys()]:
        for place in free:
            del rest[place]
    return sorted(rest)


def test_no_two_files_and_no_two_wings_import_each_other() -> None:
    imported = {name: arrows(path) - {name} for name, path in MODULES.items()}
    depths = range(2, 1 + max(name.count(".") + 1 for name in MODULES))
    for depth in depths:
        graph: dict[str, set[str]] = {}
        for name, others in imported.items():
            place = ".".join(name.split(".")[:depth])
            wide = {".".join(other.split(".")[:depth]) for other in others}
            # a wing's face hands on what is inside it
            graph.setdefault(place, set()).update(
                other
                for other in wide - {place}
                if not place.startswith(f"{other}.") and not other.startswith(f"{place}.")
            )
        assert circle(graph) == []


def test_a_circle_is_found() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == ["a", "b", "c"]


def test_every_room_is_in_the_table() -> None:
    rooms = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "benchmarks"}
    assert rooms == MAY_IMPORT.keys()
