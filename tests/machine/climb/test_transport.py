"""How weights reach the servers: what a person may say, and what becomes of what is left open."""

from __future__ import annotations

import json

import pytest

from munro.machine.climb.needs import transport_of
from munro.machine.loading import BadConfig, from_overrides, page
from munro.machine.run.metrics import is_timing
from tests.machine.climbing import munro, write_recipe

ASKED = [("num_steps", "1"), ("env", "arithmetic")]


def config_of(*more):
    return from_overrides([*ASKED, *more])


def test_the_former_name_of_the_key_is_taken():
    assert config_of(("sync.transfer", "file")).sync.transport == "file"
    same = config_of(("sync.transfer", "group"), ("sync.transport", "group"))
    assert same.sync.transport == "group"
    with pytest.raises(BadConfig, match=r"two names of one key. Keep sync.transport"):
        config_of(("sync.transfer", "file"), ("sync.transport", "group"))


@pytest.mark.parametrize(
    ("more", "nodes", "way"),
    [
        ([], 1, "file"),
        ([], 2, "group"),
        ([("sync.weights_folder", "/shared")], 2, "file"),
        ([("learner.lora.rank", "4")], 2, "file"),
        ([("sync.transport", "group")], 1, "group"),
        ([("sync.transport", "file")], 2, "file"),
    ],
)
def test_several_nodes_without_a_shared_folder_take_the_group(more, nodes, way):
    assert transport_of(config_of(*more), on_gpu=False, nodes=nodes) == way


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([("learner.lora.rank", "4")], "which goes in a file"),
        ([("ray.colocate", "true"), ("sync.max_staleness", "0")], "is between GPUs"),
    ],
)
def test_what_a_group_cannot_do_is_refused_in_a_sentence(more, said):
    with pytest.raises(BadConfig, match=said):
        config_of(("sync.transport", "group"), *more)


def test_keys_of_the_group_are_on_the_page_with_it_alone():
    assert "bucket_mib" not in page(config_of())
    shown = page(config_of(("sync.transport", "group")))
    assert all(key in shown for key in ("bucket_mib = 256", "relay = ", "slices = 1"))


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_ranks_climb_with_two_servers_as_by_file(tmp_path):
    """Without a file and without a gathered tensor, the climb is the same to the last bit."""
    (tmp_path / "runs").mkdir()
    keys = (
        "--num_steps", "3", "--sync.every_steps", "1", "--sync.max_staleness", "0",
        "--rollout.servers", "2", "--learner.ranks", "2", "--eval.every_steps", "0",
        "--sync.relay", "chain", "--sync.bucket_mib", "1",
    )  # fmt: skip
    told = {}
    for way in ("group", "file"):
        recipe = str(write_recipe(tmp_path, way))
        done = munro("climb", recipe, "--sync.transport", way, *keys)
        assert done.returncode == 0, done.stderr
        lines = (tmp_path / "runs" / way / "metrics.jsonl").read_text().splitlines()
        told[way] = [without_clocks(json.loads(line)) for line in lines]
    assert len(told["group"]) >= 3
    assert told["group"] == told["file"]


def without_clocks(figures):
    """Metrics that are not timings."""
    return {name: value for name, value in figures.items() if not is_timing(name)}
