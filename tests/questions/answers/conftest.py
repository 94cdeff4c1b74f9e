"""Scoring in a folder of the test's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.questions.answers.scoring import Scoring


@pytest.fixture
def scored(tmp_path: Path) -> Iterator[Scoring]:
    """Ten sums, two of them with a wrong answer."""
    with ExitStack() as servers:
        yield Scoring(tmp_path, servers)
