"""A server and a learner in one place, who take turns: the same climb, bit for bit."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from munro.machine.climb.cluster.fleet import Turns, Workers
from munro.machine.climb.needs import gpus_wanted, shortage, transport_of
from munro.machine.loading import BadConfig, from_overrides
from munro.machine.pipeline.resources import gpus_of
from tests.machine.climbing import munro, rows, write_recipe

SMALL = [("num_steps", "3"), ("env", "arithmetic"), ("sync.max_staleness", "0")]
ONE = [*SMALL, ("ray.colocate", "true")]


def config_of(*more):
    return from_overrides([*ONE, *more])


class Slept:
    """Servers that note when they fell asleep, and who woke them."""

    def __init__(self):
        self.said = []

    def sleep(self, deadline_s, *, level):
        self.said.append(f"sleep {level}")

    def wake(self, deadline_s):
        self.said.append("wake")


class Solved:
    """Problem workers that note what they are asked."""

    def __init__(self, said):
        self.said = said

    def solve_all(self, tasks, deadline_s):
        self.said.append("solve")
        return []

    def evaluate(self, *given):
        self.said.append("evaluate")
        return []


@pytest.mark.parametrize(
    ("every", "more", "level"),
    # an update by an adapter is not all of the weights
    [("1", [], 2), ("2", [], 1), ("1", [("learner.lora.rank", "4")], 1)],
)
def test_weights_are_kept_through_a_sleep_only_where_they_are_used_again(every, more, level):
    servers = Slept()
    config = config_of(("sync.every_steps", every), ("checkpoint.every_steps", "2"), *more)
    turns = Turns(servers, config)
    workers = Workers(Solved(servers.said), 1.0, None, turns, servers=servers)
    turns.learner()
    workers.evaluate(config.eval, 8)
    turns.learner()
    workers.solve_all([(0, 8)], 1.0)
    asleep = f"sleep {level}"
    assert servers.said == [asleep, "wake", "evaluate", asleep, "wake", "solve"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            [("sync.max_staleness", "2")],
            "has the server sleep while the learner steps, and sync.max",
        ),
        (
            [("rollout.servers", "2")],
            "one server and one learner on one GPU, and rollout.servers = 2",
        ),
        ([("rollout.tensor_parallel", "2")], "and rollout.tensor_parallel = 2. Set it to 1"),
        ([("learner.ranks", "2")], "and learner.ranks = 2. Set it to 1, or unset ray.colocate"),
        ([("sync.transfer", "nccl")], '"nccl" is between GPUs, and ray.colocate = true is one'),
        (
            [("rollout.engine", "transformers"), ("sync.transfer", "ipc")],
            '"ipc" is vLLM\'s own, and rollout.engine = "transformers"',
        ),
        (
            [("learner.lora.rank", "4"), ("sync.transfer", "ipc")],
            '"ipc" sends whole weights, and [learner.lora] publishes an adapter',
        ),
        (
            [("ray.colocate", "false"), ("sync.transfer", "ipc")],
            "is within one GPU, which ray.colocate = true gives",
        ),
    ],
)
def test_what_one_gpu_cannot_do_is_refused_in_a_sentence(more, said):
    with pytest.raises(BadConfig) as refused:
        config_of(*more)
    assert said in str(refused.value)


@pytest.mark.parametrize(("colocate", "num_gpus"), [("true", 1), ("false", 2)])
def test_one_gpu_is_all_that_is_asked_for(colocate, num_gpus):
    config = config_of(("ray.colocate", colocate))
    phase = SimpleNamespace(kind="climb", orders={"recipe": config.model_dump(mode="json")})
    assert gpus_wanted(config) == gpus_of(phase) == num_gpus
    there = [{"CPU": 4.0, "GPU": 1.0}]
    assert bool(shortage(config, there, learner=True)) is (num_gpus > 1)


def test_the_way_of_weights_follows_the_place():
    shared, apart = config_of(), config_of(("ray.colocate", "false"))
    assert transport_of(shared, on_gpu=True) == "ipc"
    assert transport_of(shared, on_gpu=False) == "file"
    assert transport_of(apart, on_gpu=True) == "file"
    assert transport_of(config_of(("sync.transfer", "file")), on_gpu=True) == "file"
    assert transport_of(config_of(("rollout.engine", "transformers")), on_gpu=True) == "file"
    # an adapter goes in a file, by its own name
    assert transport_of(config_of(("learner.lora.rank", "4")), on_gpu=True) == "file"


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("every", ["1", "2"])
def test_the_climb_is_the_same_as_apart(tmp_path, every):
    recipe = str(write_recipe(tmp_path))
    for name, colocate in (("apart", "false"), ("together", "true")):
        done = munro(
            "climb", recipe, "--name", name, "--ray.colocate", colocate,
            "--sync.every_steps", every, "--eval.every_steps", "1",
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
    apart, together = (rows(tmp_path / "runs" / name) for name in ("apart", "together"))
    assert len(apart) == 5
    assert together == apart


@pytest.mark.ray
@pytest.mark.vllm
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("trained", [(), ("--learner.lora.rank", "4")], ids=["whole", "adapter"])
def test_with_vllm_it_is_the_same_too_and_goes_on_where_it_stopped(tmp_path, trained):
    recipe = str(write_recipe(tmp_path))
    vllm = ("--rollout.engine", "vllm", "--rollout.cpu_kv_cache_gb", "0.1", *trained)
    for name, more in (
        ("apart", ()),
        ("together", ("--ray.colocate", "true", "--num_steps", "2")),
        ("together", ("--ray.colocate", "true", "--force")),
    ):
        done = munro("climb", recipe, "--name", name, *vllm, *more)
        assert done.returncode == 0, done.stdout + done.stderr
    apart, together = (rows(tmp_path / "runs" / name) for name in ("apart", "together"))
    assert together == apart


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("way", ["ipc", "nccl"])
def test_ways_from_gpu_to_gpu_are_refused_on_a_cpu(tmp_path, way):
    recipe = str(write_recipe(tmp_path))
    more = ["--rollout.engine", "vllm", "--sync.transfer", way]
    more += ["--ray.colocate", "true"] if way == "ipc" else []
    done = munro("climb", recipe, *more)
    assert done.returncode == 2
    said = done.stderr.strip().splitlines()[-1]
    assert f'sync.transport = "{way}" takes weights from GPU to GPU, and Ray finds 0 GPUs' in said


@pytest.mark.gpu
@pytest.mark.ray
@pytest.mark.vllm
@pytest.mark.filterwarnings("ignore")
def test_on_one_gpu_a_climb_ends_with_its_proofs(tmp_path):
    recipe = str(write_recipe(tmp_path))
    done = munro(
        "climb", recipe, "--rollout.engine", "vllm", "--ray.colocate", "true",
        "--learner.offload", "true",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = rows(tmp_path / "runs" / "small")
    assert len(found) == 5
    assert all(row["sync/proof"] < 0.05 for row in found)
