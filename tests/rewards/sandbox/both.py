"""Sandboxes of either back end, for tests of what both must do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from munro.rewards import sandbox
from munro.rewards.sandbox import Limits, Sandbox
from tests.rewards.sandbox.engine import engine, make_image, why_no_engine
from tests.rewards.sandbox.test_namespaces import opened

BACKENDS = [
    "namespaces",
    pytest.param(
        "docker",
        marks=[
            pytest.mark.slow,
            pytest.mark.timeout(900),
            pytest.mark.skipif(bool(why_no_engine()), reason=why_no_engine() or "there is one"),
        ],
    ),
]


@contextmanager
def opened_as(backend: str, limits: Limits, folder: Path, **options: Any) -> Iterator[Sandbox]:
    """A sandbox of that back end; of Docker, with an engine and an image for tests."""
    if backend == "namespaces":
        with opened(**options) as box:
            yield box
        return
    with (
        engine(folder) as address,
        sandbox.open("docker", limits, image=make_image(address), host=address, **options) as box,
    ):
        yield box


def only_namespaces(request: pytest.FixtureRequest) -> None:
    """What follows is of that back end alone."""
    if request.node.callspec.params["box"] != "namespaces":
        pytest.skip("a container has it otherwise, or not at all")
