"""Four ranks with experts over two save a mixture; the same, two and one go on from that."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from munro.base_model.checkpoint import Checkpoint
from tests.base_model.sharded.going_on import run
from tests.forked import run_ranks

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def went_on(folder: Path, ranks: int, **mesh: int) -> dict[str, Any]:
    (folder / "mesh.json").write_text(json.dumps(mesh))
    if ranks == 1:
        return run(folder)
    return run_ranks("tests.base_model.sharded.going_on", folder, ranks)[0]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("meshes")
    return folder, went_on(folder, 4, experts=2)


def test_the_same_mesh_goes_on_bit_for_bit(uninterrupted):
    folder, before = uninterrupted
    after = went_on(folder, 4, experts=2)
    assert (after["step"], after["loss"], after["norm"]) == (4, before["loss"], before["norm"])
    assert all(
        np.array_equal(after["weights"][name], one) for name, one in before["weights"].items()
    )


@pytest.mark.parametrize(
    ("ranks", "mesh"), [(4, {}), (3, {}), (2, {"experts": 2}), (2, {}), (1, {})]
)
def test_another_mesh_goes_on_with_the_same_loss(uninterrupted, ranks, mesh):
    folder, before = uninterrupted
    after = went_on(folder, ranks, **mesh)
    assert after["step"] == 4
    assert after["loss"][0] == pytest.approx(before["loss"][0], rel=1e-6)
    assert after["norm"][0] == pytest.approx(before["norm"][0], rel=1e-5)
    # of the step that the moments had a say in
    assert after["loss"][1] == pytest.approx(before["loss"][1], rel=1e-4)


def test_its_model_loads_with_the_weights_that_the_ranks_had(uninterrupted):
    folder, before = uninterrupted
    finished = Checkpoint(folder / "model")
    assert not finished.has_trainer_state
    loaded = finished.model(dtype=torch.float32).state_dict()
    for name, weight in before["weights"].items():
        assert np.array_equal(loaded[name].numpy(), weight), name
