"""One sandbox for all tests of a module's run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.envs.swe.boxes import Bench, bench


@pytest.fixture(scope="session")
def swe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with bench(tmp_path_factory.mktemp("swe") / "store") as opened:
        yield opened
