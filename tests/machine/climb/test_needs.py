"""What a climb asks of its nodes, before anything is started."""

from __future__ import annotations

import pytest

from munro.machine.climb.needs import (
    Place,
    likeness,
    marked,
    not_shared,
    shortage,
    unseen,
)
from munro.machine.loading import from_overrides


def config_of(*more):
    return from_overrides([("num_steps", "3"), ("env", "arithmetic"), *more])


TOO_FEW = {
    "a rank beside the server": ((), [{"CPU": 8, "GPU": 1}], "asks for 2 GPUs (1 server of 1 and"),
    "several servers": (
        [("rollout.servers", "3"), ("rollout.tensor_parallel", "2"), ("learner.ranks", "2")],
        [{"CPU": 8, "GPU": 2}, {"CPU": 8, "GPU": 4}],
        "asks for 8 GPUs (3 servers of 2 and 2 learner ranks of 1), and Ray finds 6 GPUs on 2",
    ),
    "a server that no node can hold": (
        [("rollout.tensor_parallel", "4")],
        [{"CPU": 8, "GPU": 2}] * 4,
        "asks for that many GPUs on one node, and Ray finds 8 GPUs on 4 nodes, 2 at most on one",
    ),
    "GPUs where there is none": (
        [("rollout.tensor_parallel", "2")],
        [{"CPU": 2}],
        "rollout.tensor_parallel = 2 asks for that many GPUs on one node, and Ray finds 0 GPUs",
    ),
    "CPUs to set aside": (
        [("ray.reserve", "true")],
        [{"CPU": 2}],
        "sets a CPU aside for each of 3 processes, and Ray finds 2 CPUs",
    ),
}


@pytest.mark.parametrize("what", TOO_FEW)
def test_what_is_asked_and_what_is_there_are_told(what):
    overrides, nodes, said = TOO_FEW[what]
    told = shortage(config_of(*overrides), nodes, learner=True)
    assert said in told
    assert "\n" not in told


@pytest.mark.parametrize(
    ("overrides", "nodes", "learner"),
    [
        ([], [{"CPU": 2}], True),
        ([], [{"CPU": 2, "GPU": 1}, {"CPU": 2, "GPU": 1}], True),
        ([], [{"CPU": 2, "GPU": 1}], False),
        ([("rollout.servers", "4"), ("learner.ranks", "4")], [{"CPU": 1}], True),
        ([("rollout.tensor_parallel", "4")], [{"GPU": 4}, {"GPU": 1}], True),
    ],
)
def test_enough_is_enough(overrides, nodes, learner):
    assert shortage(config_of(*overrides), nodes, learner=learner) == ""


def test_a_node_that_has_another_folder_of_that_name_does_not_see_ours(tmp_path):
    folders = {"the run's folder": (tmp_path / "run", "folder")}
    with marked(folders) as places:
        assert unseen(places) == []
        (mark,) = (tmp_path / "run").iterdir()
        mark.unlink()  # as on a node where that folder is its own
        (place,) = unseen(places)
    said = not_shared("node-2", place)
    assert said.startswith(f"the node node-2 does not see the run's folder, {tmp_path / 'run'}: ")
    assert list((tmp_path / "run").iterdir()) == []


def test_a_copy_of_the_model_is_as_good_and_another_one_of_its_name_is_not(tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text('{"hidden_size": 8}')
    (model / "model.safetensors").write_bytes(b"1234")
    place = Place(path=str(model), what="the model", mend="model.path", like=likeness(model))
    assert unseen([place]) == []
    (model / "model.safetensors").write_bytes(b"4321")  # a copy is not compared byte by byte
    assert unseen([place]) == []
    (model / "config.json").write_text('{"hidden_size": 9}')
    assert unseen([place]) == [place]
    said = not_shared("node-2", place)
    assert f"the node node-2 does not see the model, {model} (or another one of that name)" in said
    assert "or a copy in the same place of each, and say where by model.path" in said
