"""Top-level names as plain as ours are shared with the world: nobody may take ours for theirs."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from munro import kernels

ROOT = Path(__file__).parents[1]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_transformers_does_not_take_our_kernels_for_the_package_on_pypi() -> None:
    from transformers.utils import is_kernels_available

    assert is_kernels_available() is False


def test_our_version_stays_below_the_one_that_transformers_looks_for() -> None:
    assert kernels.__version__ == "0.0.0"
    assert tuple(map(int, metadata.version("munro").split(".")[:2])) < (0, 10)


def test_the_package_of_that_name_is_not_installed() -> None:
    with pytest.raises(metadata.PackageNotFoundError):
        metadata.version("kernels")


def test_imports_of_our_rooms_reach_this_checkout() -> None:
    assert Path(kernels.__file__).parent == ROOT / "kernels"
