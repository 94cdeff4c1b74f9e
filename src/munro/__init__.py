"""A hill-climbing machine for language models; its rooms are the folders beside `src`.

    munro.climb("quickstart", num_steps=10)      what `munro climb` does, from a notebook
    munro.__version__

In a checkout the rooms lie at the root, and this package finds them there. The links beside this
file are for tools that only read: mypy, pyright, import-linter. A wheel holds plain folders.
"""

from importlib import import_module as _import_module
from pathlib import Path as _Path

_root = _Path(__file__).resolve().parents[2]
_in_checkout = (_root / "pyproject.toml").is_file() and (_root / "src" / "munro").is_dir()
if _in_checkout:
    __path__.insert(0, str(_root))


def __getattr__(name: str) -> object:
    """Looked up when first used: `import munro` brings nothing; `__init__.pyi` has the types."""
    if name == "climb":
        # by name, for every room may import munro and none of them the machine
        return _import_module("munro.machine.notebook").climb
    if name == "__version__":
        return _version()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _version() -> str:
    if _in_checkout:
        # whatever is installed may be another checkout's
        import tomllib

        project = tomllib.loads((_root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        return str(project["version"])
    from importlib import metadata

    return metadata.version("munro")
