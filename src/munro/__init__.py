"""A hill-climbing machine for language models; its rooms are the folders beside `src`.

In a checkout the rooms lie at the root, and this package finds them there. The links beside this
file are for tools that only read: mypy, pyright, import-linter. A wheel holds plain folders.
"""

from pathlib import Path as _Path

_root = _Path(__file__).resolve().parents[2]
if (_root / "pyproject.toml").is_file() and (_root / "src" / "munro").is_dir():
    __path__.insert(0, str(_root))
