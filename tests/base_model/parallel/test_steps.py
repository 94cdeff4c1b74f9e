"""Ten steps of the trainer over every kind of mesh come to the weights of one rank."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from tests.base_model.parallel.ten_steps import run
from tests.forked import run_ranks

MESHES: dict[int, list[dict[str, int]]] = {
    2: [{"experts": 2}, {"context": 2}, {"context": 2, "experts": 2}],
    4: [
        {"experts": 4},
        {"experts": 2},  # and FSDP over two
        {"context": 4},  # more than key heads
        {"context": 2, "experts": 4},
        {"replicate": 2, "experts": 2},
        {"replicate": 2, "context": 2},
    ],
}
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    (folder / "meshes.pkl").write_bytes(pickle.dumps([{}]))
    return run(folder)["{}"]


@pytest.mark.parametrize("ranks", [2, 4])
def test_ten_steps_come_to_what_one_rank_does(alone, tmp_path, ranks):
    (tmp_path / "meshes.pkl").write_bytes(pickle.dumps(MESHES[ranks]))
    first, *others = run_ranks("tests.base_model.parallel.ten_steps", tmp_path, ranks)
    for mesh, found in first.items():
        assert_same(mesh, found, alone)
        assert all(not other[mesh]["weights"] for other in others)
        assert all(other[mesh]["loss"] == found["loss"] for other in others)


def assert_same(mesh: str, ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    # of the first step, before anything is carried on
    assert ours["loss"][0] == pytest.approx(theirs["loss"][0], rel=3e-7), mesh
    assert ours["norm"][0] == pytest.approx(theirs["norm"][0], rel=1e-6), mesh
    assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-5), mesh
    assert ours["norm"] == pytest.approx(theirs["norm"], rel=1e-4), mesh
    assert ours["nll"] == pytest.approx(theirs["nll"], rel=1e-5), mesh
    assert ours["counts"] == theirs["counts"], mesh
    worst = {
        name: float(np.abs(ours["weights"][name] - one).max())
        for name, one in theirs["weights"].items()
    }
    assert ours["weights"].keys() == theirs["weights"].keys()
    assert max(worst.values()) < 1e-5, (mesh, worst)
