"""Experts and attention over ranks are what they are on one, bit for bit where sums are ours."""

from __future__ import annotations

import pytest

from tests.forked import run_ranks


@pytest.mark.parametrize("ranks", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_in_parts_it_is_what_it_is_in_one_piece(tmp_path, ranks):
    for found in run_ranks("tests.base_model.parallel.pieces", tmp_path, ranks):
        for name, told in found.items():
            assert all(told.values()), (name, told)
