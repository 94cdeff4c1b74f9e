"""What tests need of Python and an image has not, from a folder of `pip install --target`."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from munro.envs.harbor.errors import BadFolder
from munro.rewards.sandbox import Layer, layer_of

ANY_PYTHON = b"#!/usr/bin/env python3\n"


def packages_layer(folder: Path, store: Path) -> Layer:
    """A layer of it, whose programs run under the Python of a box and not under that of pip.

    Raises:
        BadFolder: there is no such folder, or it holds what no layer can.
    """
    if not folder.is_dir():
        raise BadFolder(f"packages = {str(folder)!r} is no folder: pip install --target makes one")
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "packages"
        shutil.copytree(folder, copy, symlinks=True)
        for program in (copy / "bin").glob("*"):
            if program.is_file() and not program.is_symlink():
                first, end, rest = program.read_bytes().partition(b"\n")
                if end and first.startswith(b"#!") and b"python" in first:
                    program.write_bytes(ANY_PYTHON + rest)
        for cache in sorted(copy.rglob("__pycache__")):
            shutil.rmtree(cache)
        try:
            return layer_of(copy, store)
        except ValueError as failure:
            raise BadFolder(f"packages = {str(folder)!r}: {failure}") from failure
